"""The rows, in the order they are run and shown."""

from bench.row import Row
from bench.rows import (
    acme,
    budget,
    changes,
    collector,
    connections,
    http,
    https,
    lost,
    memory,
    recovery,
    scaling,
    startup,
    steps,
)

ROWS: tuple[Row, ...] = (
    *http.ROWS,
    *https.ROWS,
    *acme.ROWS,
    *lost.ROWS,
    *changes.ROWS,
    *connections.ROWS,
    *memory.ROWS,
    *recovery.ROWS,
    *steps.ROWS,
    *budget.ROWS,
    *scaling.ROWS,
    *collector.ROWS,
    *startup.ROWS,
)
