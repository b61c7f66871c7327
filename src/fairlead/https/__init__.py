"""HTTPS: certificates that get and renew themselves, and the TLS side of a worker."""
