"""Concept 4, replication: how many workers."""
