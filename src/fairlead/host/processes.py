"""Starting, adopting and reaping processes."""

import ctypes
import os
import signal
from enum import IntEnum

from fairlead.lean_dataclass import dataclass

_libc = ctypes.CDLL(None, use_errno=True)
DUMP_SIGNAL = signal.SIGRTMIN + 5
"""Makes a worker or template write the stacks of all threads. Real-time, so that it is none that an app would use."""


class _Prctl(IntEnum):
    SET_PDEATHSIG = 1
    SET_CHILD_SUBREAPER = 36


def _prctl(option: _Prctl, value: int) -> None:
    if _libc.prctl(int(option), ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option.name}: {os.strerror(code)}")


def become_subreaper() -> None:
    """Orphaned descendants become children of this process instead of init's."""
    _prctl(_Prctl.SET_CHILD_SUBREAPER, 1)


def signal_when_parent_dies(number: int) -> None:
    """The kernel sends `number` to this process when its parent dies. Cleared by a change of user: call it after that."""
    _prctl(_Prctl.SET_PDEATHSIG, number)


@dataclass(frozen=True, slots=True)
class Ended:
    """A reaped child: exit code, or the signal that ended it."""

    pid: int
    code: int | None
    signal: int | None

    @property
    def how(self) -> str:
        """ "exit code 3" or "signal SIGKILL (…)"."""
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = str(self.signal)
        return f"signal {name}"


def reap() -> list[Ended]:
    """All children that have ended and were not reaped yet, adopted orphans included."""
    ended: list[Ended] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if os.WIFSIGNALED(status):
            ended.append(Ended(pid, None, os.WTERMSIG(status)))
        else:
            ended.append(Ended(pid, os.WEXITSTATUS(status), None))


def children() -> dict[int, str]:
    """The living children of this process, adopted ones included, with their names."""
    found, ours = {}, str(os.getpid())
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                head, _, tail = file.read().rpartition(") ")
        except OSError:
            continue  # gone meanwhile
        state, parent = tail.split()[:2]
        if parent == ours and state not in "ZX":
            found[int(entry)] = head.partition(" (")[2]
    return found


def signal_group(group: int, number: int) -> bool:
    """Sends a signal to all of a process group (0: none); False when nobody is in it. Those of other users do not mind."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def send_signal(pid: int, number: int) -> None:
    """Sends a signal to a child that was not reaped yet (so its pid is its own). A zombie does not mind."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
