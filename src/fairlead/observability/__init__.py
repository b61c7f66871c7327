"""Event names, log format, the scoreboard."""
