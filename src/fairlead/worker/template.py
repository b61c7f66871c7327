"""The template: imports the app once, freezes its heap, and forks workers and a spare of itself on request."""

import gc
import os
import select
import signal
import sys
import time

from fairlead.host import processes
from fairlead.host.channel import Channel
from fairlead.host.mappings import let_go_of_files
from fairlead.host.pages import resident
from fairlead.lean_dataclass import dataclass
from fairlead.messages import Fork, ForkCompanion, Forked, ForkFailed, ForkSpare
from fairlead.plan.model import Plan
from fairlead.worker import process

ADOPTION_DEADLINE = 10.0
"""Seconds. The middle process has nothing left to do but exit."""
_IDLE = 1.0
"""Seconds without an order after which the template lets go of what only the import needed."""


@dataclass(frozen=True, slots=True)
class Newborn:
    """A worker's beginnings: its number, slot, channel, and the monotonic time it was forked at. Or a companion's, with its name."""

    worker: int
    slot: int
    channel: Channel
    began: float
    companion: str = ""


GC_THRESHOLDS = (10_000, 20, 20)
"""Python collects after 700 new objects, which a single request may make; few of them are garbage in a cycle."""


GC_THRESHOLDS_AT_IMPORT = (150_000, 20, 100)
"""An import makes hundreds of thousands of objects that stay: looking through them again and again takes a tenth of it."""
_FEW = 1
"""Collections of the youngest generation in an import that has made next to no garbage: some hundred objects, usually."""


_MUCH = 64 * 1024 * 1024
"""Bytes that an import has added, of which a single object in a cycle may hold nearly all."""


def hold_gc() -> int:
    """Before the import: Fairlead's own objects are no garbage, and what the app makes is looked through seldom.
    Returns the bytes that this process holds, for `tune_gc`."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS_AT_IMPORT)
    return resident("self")[1]


def tune_gc(before: int) -> None:
    """Takes all that the import made out of the garbage collector's sight, so that no collection in a worker writes
    to (and so copies) the shared pages or walks through them, and lets it work less often."""
    _objects, young, middle = gc.get_count()
    if middle or young > _FEW or resident("self")[1] - before > _MUCH:
        gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def serve_forks(plan: Plan, release: int, channel: Channel, supervisor: int) -> Newborn | None:
    """Forks on request until the channel ends. Returns None in the template or spare, a Newborn in a forked worker or companion.

    `supervisor` is the pid that every fork is to be adopted by.
    """
    # What the import printed is written out, or every fork would print it again.
    sys.stdout.flush()
    sys.stderr.flush()
    idle: float | None = _IDLE
    while True:
        if not _wait_readable(channel, idle):
            idle = None
            let_go_of_files()
            continue
        try:
            received = channel.receive()
        except BlockingIOError:
            continue
        if received is None:
            return None
        order, descriptors = received
        began = time.monotonic()
        if isinstance(order, Fork) and _fork(channel, order.worker, descriptors):
            process.settle_in(plan, f"worker {release}/{order.slot}", descriptors[1], supervisor, signal.SIGTERM)
            process.reseed()
            return Newborn(order.worker, order.slot, Channel.from_descriptor(descriptors[0]), began)
        if isinstance(order, ForkCompanion) and _fork(channel, order.companion, descriptors):
            os.setpgid(0, 0)  # as one that is a program: what it starts is known by its group
            process.settle_in(plan, f"companion {order.name}", descriptors[1], supervisor, signal.SIGTERM)
            process.reseed()
            return Newborn(order.companion, -1, Channel.from_descriptor(descriptors[0]), began, order.name)
        if isinstance(order, ForkSpare) and _fork(channel, order.spare, descriptors):
            process.settle_in(plan, f"spare of template {release}", descriptors[1], supervisor, signal.SIGKILL)
            # The spare goes on as a template of its own: it sleeps until somebody asks it to fork. A fork begins without
            # the pages of files.
            channel, idle = Channel.from_descriptor(descriptors[0]), None


def _wait_readable(channel: Channel, seconds: float | None) -> bool:
    """False when nothing came in that time."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _fork(channel: Channel, number: int, descriptors: list[int]) -> bool:
    """Forks twice, so that the supervisor adopts the grandchild. True in the grandchild, which keeps `descriptors`.

    The supervisor hears the pid only after the adoption, so that it never waits for a pid that is not its child's.
    """
    pid_read, pid_write = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        middle = -1
        os.write(pid_write, (error.strerror or str(error)).encode()[:64])
    if middle == 0:
        if not _fork_again(pid_write):
            os._exit(0)
        os.close(pid_read)
        os.close(pid_write)
        channel.close()
        return True
    for descriptor in (pid_write, *descriptors):
        os.close(descriptor)
    answer = os.read(pid_read, 64).decode()
    os.close(pid_read)
    if middle > 0:
        os.waitpid(middle, 0)
    if answer.isdigit():
        channel.send(Forked(number, int(answer)))
    else:
        channel.send(ForkFailed(number, answer or "the process that forks died"))
    return False


def _fork_again(pid_write: int) -> bool:
    """In the middle process: True in the grandchild, False in the middle, which has written the pid or the error."""
    processes.signal_when_parent_dies(signal.SIGKILL)
    middle = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.write(pid_write, (error.strerror or str(error)).encode()[:64])
        return False
    if pid == 0:
        _wait_for_adoption(middle)
        return True
    os.write(pid_write, str(pid).encode())
    return False


def _wait_for_adoption(middle: int) -> None:
    """Until the middle process has really exited: a process's descriptors are closed before its children move on, so
    the end of a pipe would tell too early."""
    deadline = time.monotonic() + ADOPTION_DEADLINE
    while os.getppid() == middle:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.0002)
