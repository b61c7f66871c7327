"""The `[log]` table: what is written where."""
