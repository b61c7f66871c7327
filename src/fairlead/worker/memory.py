"""A worker's own memory: a cheap counter at every tick, and now and then the kernel's exact account."""

import resource
import threading
import time

from fairlead.host.memory import read_memory
from fairlead.host.pages import resident

_PAGE = resource.getpagesize()
_FIRST = 2.0
_SHORTEST = 10.0
_THRIFT = 2000
"""Seconds between two exact accounts for every second of CPU that one costs: 0.05 % of a core."""
_SLACK = 4 * 1024 * 1024
"""Bytes that may have been copied unseen before the next exact account is taken as soon as thrift allows."""
_CALM = 10
"""How much longer the pause is while less than that can have changed."""


class MemoryMeter:
    """What this process holds for itself alone, in bytes.

    The exact account walks the page table, some milliseconds for a GB, so it is taken seldom and in a thread: reading
    it lets go of the interpreter. Between two of them the anonymous memory, which is a counter, tells the growth. What
    that cannot see is a shared page that was written to and so copied; but each of those is a page fault, which the kernel
    counts as well. So a worker at rest is left alone, and one that copies much is looked at as often as thrift allows.
    """

    def __init__(self, forked: bool) -> None:
        anonymous = resident("self")[1]
        self._forked = forked
        # What a fork begins with is shared with its template.
        self._shared = anonymous if forked else 0
        self._then = anonymous
        self._faults = _page_faults()
        self._next = self._latest = time.monotonic() + _FIRST
        self._busy = False

    def read(self, now: float) -> int:
        """The present value. `now`: time.monotonic()."""
        anonymous = resident("self")[1]
        if now >= self._next and not self._busy and (now >= self._latest or self._unseen(anonymous) > _SLACK):
            self._busy = True
            threading.Thread(target=self._account, name="fairlead memory", daemon=True).start()
        return max(0, anonymous - self._shared)

    def begin(self, now: float) -> int:
        """The value when the app has started, exact for a fork, in the calling thread: how many more workers fit is decided
        by it at once, and the pages that a start copies are all that a small worker holds."""
        if self._forked:
            self._account()
            self._next = self._latest = now + _FIRST
        return self.read(now)

    def _unseen(self, anonymous: int) -> int:
        """The most that can have been copied since the last account: each page that is new was a fault, and so was each copy."""
        return (_page_faults() - self._faults) * _PAGE - max(0, anonymous - self._then)

    def _account(self) -> None:
        began, faults = time.thread_time(), _page_faults()
        reading = read_memory("self")
        self._then, self._faults = resident("self")[1], faults
        if reading is not None:
            self._shared = self._then - reading.uss
        pause = max(_SHORTEST, (time.thread_time() - began) * _THRIFT)
        self._next = time.monotonic() + pause
        self._latest = self._next + _CALM * pause
        self._busy = False


def _page_faults() -> int:
    """How many pages this process has got without reading them from a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
