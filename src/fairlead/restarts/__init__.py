"""Concept 3, restarts: when a process is replaced, how fast, and how gently."""
