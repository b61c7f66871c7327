"""Concept 5, memory: what the processes share."""
