"""Process trees: starting one, what it costs, and ending it without a rest. Linux, standard library only."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes every descendant of ours stay one when its parent dies, so that `descendants` finds it and nothing is left behind."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def descendants(root: int) -> list[int]:
    """The pids below `root`, without it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that the process (not its children) has used; 0 when it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def scheduled_seconds(pid: int) -> float:
    """The same to the nanosecond, but without threads that have ended."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(file.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total / 1e9


def pss_bytes(pid: int) -> int:
    """The process's proportional share of memory; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and everything below it."""

    root: int

    def pids(self) -> list[int]:
        """All of them, the root first."""
        return [self.root, *descendants(self.root)]

    def cpu(self) -> dict[int, float]:
        """CPU seconds used so far, by pid."""
        return {pid: cpu_seconds(pid) for pid in self.pids()}

    def cpu_since(self, before: Mapping[int, float]) -> float:
        """CPU seconds used since an earlier reading, by processes that are still there."""
        return sum(seconds - before.get(pid, 0.0) for pid, seconds in self.cpu().items())

    def pss(self) -> int:
        """The memory of the whole tree: shared pages are counted once."""
        return sum(pss_bytes(pid) for pid in self.pids())


@contextmanager
def running(
    command: Sequence[str], cwd: Path, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command, its output in `log`, from here to the end of the block; then nothing of it is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", patience: float = 5.0) -> None:
    """TERM to the root, time to leave, then KILL to whatever of the tree is there. Only for processes started here."""
    everything = {process.pid, *descendants(process.pid)}
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            everything |= set(descendants(process.pid))
            process.kill()
            process.wait()
    # What outlived the root is our child by now (see `adopt_orphans`), so its pid cannot have been given to anybody else.
    for pid in everything & set(descendants(os.getpid())):
        os.kill(pid, signal.SIGKILL)
    _reap()


def _reap() -> None:
    """Waits for adopted orphans that have ended; ours without a Popen are only those."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.005)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, state first; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
