"""What the app started and left behind: processes that outlive their worker are adopted by the supervisor, and end with it.

As with systemd's KillMode=control-group: TERM, a grace period, KILL. Nobody else would ever end them.
"""

import asyncio
import signal
import time
from collections.abc import Callable

from fairlead.host.processes import children, send_signal
from fairlead.observability.events import EventLog

GRACE = 5.0
"""Seconds between TERM and KILL."""
_MOMENT = 1.0
"""Seconds in which those of ours leave that were being forked when their template was ended: they see that nobody is there for
them, and nobody is to be blamed for them."""
_AFTER_KILL = 2.0
"""Seconds in which the kernel ends what was killed, and what it had started comes to light."""
_LOOK = 0.05


async def end_leftovers(log: EventLog, spare: set[int], patience: Callable[[], float]) -> None:
    """Ends all children but those in `spare`, and their children as they come to be ours. Somebody else reaps.

    `patience` tells the seconds that they have after TERM; it may shrink meanwhile.
    """
    begun, told = time.monotonic(), set[int]()
    while left := {pid: name for pid, name in children().items() if pid not in spare}:
        waited = time.monotonic() - begun
        if waited < min(_MOMENT, patience()):
            await asyncio.sleep(_LOOK)
            continue
        impatient = waited >= patience()
        if waited >= patience() + _AFTER_KILL:
            log.error("stop.left_over", processes=_names(left), effect="they do not end, and are left")
            return
        if new := {pid: name for pid, name in left.items() if pid not in told}:
            log.warning("stop.left_over", processes=_names(new), effect="started by the app, and ended with it")
        for pid in left:
            if impatient:
                send_signal(pid, signal.SIGKILL)
            elif pid in new:
                send_signal(pid, signal.SIGTERM)
        told |= set(left)
        await asyncio.sleep(_LOOK)


def _names(processes: dict[int, str]) -> list[str]:
    return [f"{pid} {name}" for pid, name in sorted(processes.items())]
