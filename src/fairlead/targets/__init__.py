"""Other homes: a plan → the files of a tool that people already run. Pure; one module a target."""
