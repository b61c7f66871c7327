"""Fairlead takes a FastAPI (any ASGI) app into production on a Linux server, and keeps it there."""

__version__ = "0.1.0"
