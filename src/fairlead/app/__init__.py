"""The `[app]` table: which app, from where, as whom."""
