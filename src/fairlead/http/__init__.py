"""The `[http]` table: where to listen and how to speak HTTP."""
