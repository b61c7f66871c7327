"""What a companion started and left behind: the companion has ended when all of its process group has.

A shell that runs a program and is ended leaves that program to us, and a successor would then run beside it. That a process
of the group ends is heard of like any other end: it was adopted by this process when its parent ended.
"""

import os
import signal

from fairlead.host.processes import signal_group
from fairlead.lean_dataclass import dataclass
from fairlead.supervisor.events import Exited
from fairlead.supervisor.model import CompanionRun, State

_AFTER_KILL = 2.0
"""Seconds in which the kernel ends what was killed. Whoever is left then is not ours to end."""


@dataclass(slots=True)
class _Group:
    """`exited`: what is told once the group is empty. `until`: when at the latest; None: as long as its companion may take."""

    exited: Exited
    until: float | None = None


class Stragglers:
    """The groups whose leaders have ended, by the leader's pid. It stays theirs: no process gets the number of a group."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}

    def stay(self, run: CompanionRun, exited: Exited, now: float) -> bool:
        """Whether others of the ended companion's group are left; then `gone` returns `exited` when they are not any more.

        They are asked to end as the companion was, and have what is left of its time; those of one that ended by itself, or whose
        time is over, are killed.
        """
        asked = run.end is not None and run.deadline is not None
        if not signal_group(exited.pid, signal.Signals[f"SIG{run.policy.stop_signal}"] if asked else signal.SIGKILL):
            return False
        self._groups[exited.pid] = _Group(exited, None if asked else now + _AFTER_KILL)
        return True

    def kill(self, leader: int, now: float) -> None:
        """Their time is over."""
        signal_group(leader, signal.SIGKILL)
        if leader in self._groups:
            self._groups[leader].until = now + _AFTER_KILL

    def gone(self, now: float) -> list[Exited]:
        """What can be told now."""
        over = [
            leader
            for leader, group in self._groups.items()
            if not signal_group(leader, 0) or (group.until is not None and now >= group.until)
        ]
        return [self._groups.pop(leader).exited for leader in over]

    def take_over(self, state: State, now: float) -> list[Exited]:
        """After a change of the program: what its predecessor knew of groups whose leaders had ended."""
        ended = []
        for run in state.companions.values():
            if run.pid is not None and run.pid not in self._groups and not os.path.exists(f"/proc/{run.pid}"):
                exited = Exited(run.pid, "it ended while the supervisor was replaced")
                if not self.stay(run, exited, now):
                    ended.append(exited)
        return ended
