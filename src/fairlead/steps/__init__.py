"""Concept 6, previous steps: what has to run exactly once before a release serves."""
