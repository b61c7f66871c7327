"""Concept 2, running on startup: what a start may take, and when an app counts as ready."""
