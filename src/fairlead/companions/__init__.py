"""Companions: other processes of the same release beside its workers, such as a scheduler or a queue consumer."""
