"""The command: one file for each of its verbs. The composition root: it looks at the host and hands facts on."""
