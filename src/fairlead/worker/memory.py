"""A worker's own memory: a cheap counter at every tick, and now and then the kernel's exact account."""

import threading
import time

from fairlead.host.memory import read_memory
from fairlead.host.pages import resident

_FIRST = 2.0
_SHORTEST = 10.0
_THRIFT = 2000
"""Seconds between two exact accounts for every second of CPU that one costs: 0.05 % of a core."""


class MemoryMeter:
    """What this process holds for itself alone, in bytes.

    The exact account walks the page table, some milliseconds for a GB, so it is taken seldom and in a thread: reading
    it lets go of the interpreter. Between two of them the anonymous memory, which is a counter, tells the growth.
    """

    def __init__(self, forked: bool) -> None:
        anonymous = resident("self")[1]
        # What a fork begins with is shared with its template.
        self._shared = anonymous if forked else 0
        self._next = time.monotonic() + _FIRST
        self._busy = False

    def read(self, now: float) -> int:
        """The present value. `now`: time.monotonic()."""
        if now >= self._next and not self._busy:
            self._busy = True
            threading.Thread(target=self._account, name="fairlead memory", daemon=True).start()
        return max(0, resident("self")[1] - self._shared)

    def _account(self) -> None:
        began = time.thread_time()
        reading = read_memory("self")
        if reading is not None:
            self._shared = resident("self")[1] - reading.uss
        cost = time.thread_time() - began
        self._next = time.monotonic() + max(_SHORTEST, cost * _THRIFT)
        self._busy = False
