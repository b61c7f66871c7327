"""The rows, in the order they are run and shown."""

from bench.row import Row
from bench.rows import acme, changes, connections, http, https, lost, memory, recovery

ROWS: tuple[Row, ...] = (
    *http.ROWS,
    *https.ROWS,
    *acme.ROWS,
    *lost.ROWS,
    *changes.ROWS,
    *connections.ROWS,
    *memory.ROWS,
    *recovery.ROWS,
)
