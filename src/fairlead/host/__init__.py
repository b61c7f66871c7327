"""The only code that touches the operating system for the supervisor: small objects that a test can fake."""
