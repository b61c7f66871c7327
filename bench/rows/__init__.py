"""The rows, in the order they are run and shown."""

from bench.row import Row
from bench.rows import http, https, lost, memory, recovery, startup

ROWS: tuple[Row, ...] = (*http.ROWS, *https.ROWS, *lost.ROWS, *memory.ROWS, *recovery.ROWS, *startup.ROWS)
