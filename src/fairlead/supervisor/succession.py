"""What a supervisor leaves to the program that takes its place: everything open by descriptor, everything known as JSON.

The successor is exec'ed, so it is the same process with the same children: pids, sockets, locks and pipes go on. Before
that the new program is asked, in a process of its own, whether it can read what it would get; if not, nothing happens.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import field

from fairlead.errors import FairleadError
from fairlead.lean_dataclass import dataclass
from fairlead.plan.model import Bind, Plan
from fairlead.records import dump, load
from fairlead.supervisor.certificates import HeldJob
from fairlead.supervisor.inquiry import Inquiry
from fairlead.supervisor.model import State

_SIGNALS = {
    getattr(signal, f"SIG{name}") for name in ("TERM", "INT", "HUP", "TTIN", "TTOU", "USR1", "USR2", "CHLD", "ABRT")
}
_ANSWER = "fit"


@dataclass(frozen=True, slots=True)
class Held:
    """An open listening socket. `lent`: somebody else holds it too. `bind` None: nobody has asked for it yet."""

    descriptor: int
    bind: Bind | None = None
    lent: bool = False
    speaks: str = "http"
    name: str = ""


@dataclass(slots=True)
class Estate:
    """All that goes over; descriptors are numbers that stay open. `client`: who asked, and its connection."""

    version: str
    plan: Plan
    state: State
    started: float
    said: list[str]
    scoreboard: int
    lock: int
    control: int
    listeners: list[Held]
    channels: dict[int, int]
    stacks: dict[int, int]
    client: tuple[int, int] | None = None
    environ: dict[str, str] = field(default_factory=dict)
    """Variables of the service manager, which were taken out of the environment."""
    strangers: list[int] = field(default_factory=list)
    """Children that were there before the first of these programs: a shell's that became the supervisor."""
    jobs: list[HeldJob] = field(default_factory=list)
    """Certificate agents and hooks under way."""

    def descriptors(self) -> list[int]:
        """Everything that must stay open."""
        return [
            *(self.scoreboard, self.lock, self.control),
            *(held.descriptor for held in self.listeners),
            *self.channels.values(),
            *self.stacks.values(),
            *(descriptor for job in self.jobs for descriptor in (job.process.output, job.process.error)),
            *([self.client[1]] if self.client else []),
        ]


def pack(estate: Estate) -> int:
    """A descriptor of an anonymous file that holds the estate, to be read from the start."""
    descriptor = os.memfd_create("fairlead-estate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
        json.dump(dump(estate), file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def unpack(descriptor: int) -> Estate:
    """The estate of a descriptor, which is closed. FairleadError when it cannot be read."""
    try:
        with os.fdopen(descriptor, encoding="utf-8") as file:
            estate = load(Estate, json.load(file))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FairleadError(f"cannot take over: what the program before left cannot be read: {error!r}") from error
    assert isinstance(estate, Estate)  # noqa: S101
    return estate


def try_successor(estate: Estate, done: Callable[[str], None]) -> Inquiry:
    """Asks the installed program whether it could take over. Calls `done` once, with why not, or with nothing."""
    descriptor = pack(estate)

    def answered(text: str, problem: str) -> None:
        os.close(descriptor)
        last = (problem or "it said nothing").splitlines()[-1]
        done("" if text == _ANSWER else f"the program that is installed now cannot take over: {last}")

    return Inquiry([*_program(), "--could-take-over", str(descriptor), "--answer-to"], (descriptor,), answered)


def say_fit(estate: int, answer: int) -> None:
    """The successor's side of that question: everything is imported by now, and the estate can be read."""
    unpack(estate)
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(_ANSWER)


def hand_over(estate: Estate) -> None:
    """Becomes the installed program. Comes back only by an OSError, with everything as it was.

    Signals wait until the successor can take them: none is lost, and none ends a process that has no handlers yet.
    """
    descriptor = pack(estate)
    kept = [descriptor, *estate.descriptors()]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        for number in kept:
            os.set_inheritable(number, True)
        command = [*_program(), "--take-over", str(descriptor), estate.plan.name]
        os.execve(sys.executable, command, os.environ | estate.environ)  # noqa: S606 - ourselves, as installed now
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in kept:
            os.set_inheritable(number, False)
        os.close(descriptor)


def take_over(descriptor: int) -> Estate:
    """The estate, whose descriptors no child inherits from now on."""
    estate = unpack(descriptor)
    for number in estate.descriptors():
        os.set_inheritable(number, False)
    return estate


def take_signals() -> None:
    """Lets the signals come that have waited since `hand_over`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _program() -> list[str]:
    return [sys.executable, "-P", "-m", "fairlead.supervisor"]
