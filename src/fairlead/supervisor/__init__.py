"""The one parent process: holds the sockets, starts, watches and replaces the rest. Never imports the user's code."""
