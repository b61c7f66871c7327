"""Shared memory that tells how every worker is doing, without a message.

Layout: columns of int64, one cell per slot and column: column c of slot s is at byte (c * CAPACITY + s) * 8. A cell is
written by its slot's worker alone (a store of 8 aligned bytes is not torn), read by everybody; the supervisor clears
a slot's cells once its worker is reaped. Columns instead of records, because the one hot reader, the accept
balancing, looks at one column of all slots (`load`), and that is then one slice.
"""

import mmap
import os
from enum import IntEnum
from typing import Final

from fairlead.lean_dataclass import dataclass

CAPACITY: Final = 1024
"""Slots. Workers that come and workers that drain at the same time each hold one."""


class Column(IntEnum):
    """What a cell says."""

    WORKER = 0
    """The worker's number; 0: the slot is free."""
    PID = 1
    RELEASE = 2
    LOAD = 3
    """1 + connections + accepts under way, while the worker accepts; 0 when it does not take part."""
    HEARTBEAT = 4
    """CLOCK_MONOTONIC in nanoseconds when the worker's loop last ran its tick."""
    CONNECTIONS = 5
    """Open connections, WebSockets included."""
    WEBSOCKETS = 6
    IN_FLIGHT = 7
    """HTTP requests received and not answered in full."""
    REQUESTS = 8
    """HTTP requests answered, ever."""
    ERRORS = 9
    """Answers with a status of 500 or above, and answers cut off by an exception."""
    ACCEPTED = 10
    """Connections accepted, ever."""
    CPU = 11
    """CPU time of the process, in nanoseconds, as of the last tick."""
    PRIVATE = 12
    """Bytes that the process holds for itself alone, as of the last tick."""
    BLOCKED = 13
    """Nanoseconds, ever, in which the worker's loop was busy with something long; sampled, where workers follow the load."""


COLUMNS: Final = 32
"""Room for more columns without a new layout."""
SIZE: Final = CAPACITY * COLUMNS * 8


@dataclass(frozen=True, slots=True)
class SlotReading:
    """One slot as read at one moment. Counts are ever-growing but for connections, websockets and in_flight."""

    slot: int
    worker: int
    pid: int
    release: int
    accepting: bool
    heartbeat_ns: int
    connections: int
    websockets: int
    in_flight: int
    requests: int
    errors: int
    accepted: int
    cpu_ns: int


def create_scoreboard_file() -> int:
    """A descriptor of a new, zeroed scoreboard; inherited or sent to whoever maps it."""
    descriptor = os.memfd_create("fairlead-scoreboard", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SIZE)
    return descriptor


class Scoreboard:
    """The mapped scoreboard. `cells` is a flat memoryview of int64 for code where an attribute look-up counts."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, SIZE)
        self.cells: memoryview = memoryview(self._map).cast("q")

    def cell(self, column: Column, slot: int) -> int:
        """The index of a cell in `cells`."""
        return column * CAPACITY + slot

    def read(self, slot: int) -> SlotReading:
        """All that slot `slot` says."""
        cells = self.cells
        values = [cells[column * CAPACITY + slot] for column in Column]
        return SlotReading(
            slot=slot,
            worker=values[Column.WORKER],
            pid=values[Column.PID],
            release=values[Column.RELEASE],
            accepting=values[Column.LOAD] > 0,
            heartbeat_ns=values[Column.HEARTBEAT],
            connections=values[Column.CONNECTIONS],
            websockets=values[Column.WEBSOCKETS],
            in_flight=values[Column.IN_FLIGHT],
            requests=values[Column.REQUESTS],
            errors=values[Column.ERRORS],
            accepted=values[Column.ACCEPTED],
            cpu_ns=values[Column.CPU],
        )

    def clear(self, slot: int) -> None:
        """Frees a slot. Only for a slot whose worker is gone."""
        for column in range(COLUMNS):
            self.cells[column * CAPACITY + slot] = 0

    def close(self) -> None:
        """Unmaps; the object is of no use afterwards."""
        self.cells.release()
        self._map.close()
