"""One run of one command: its output line by line, its deadline, and nothing of it left behind."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Protocol

from fairlead.host.processes import signal_when_parent_dies
from fairlead.host.pythonpath import for_programs
from fairlead.plan.model import Identity
from fairlead.steps.policy import STOP_TIME

_LONGEST_LINE = 8192
LOCK_LOST = "its lock in PostgreSQL was lost, for the connection broke"


class Lock(Protocol):
    """What a command must hold while it runs. `descriptor`: readable when there is reason to ask whether it `is_lost`."""

    descriptor: int

    def is_lost(self) -> bool:
        """Whether somebody else may hold it by now."""


class _Outcome(Enum):
    ENDED = auto()
    TIMED_OUT = auto()
    LOCK_LOST = auto()


def environment(identity: Identity | None, more: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Our own variables and the step's; programs beside this Python come first, `python` and `alembic` among them."""
    programs = os.path.dirname(sys.executable)
    variables = {**for_programs(os.environ), "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    if identity is not None:
        variables |= {"HOME": identity.home, "USER": identity.user, "LOGNAME": identity.user}
    return variables | dict(more)


def run(
    command: tuple[str, ...],
    variables: Mapping[str, str],
    identity: Identity | None,
    timeout: float,
    on_line: Callable[[str], None],
    lock: Lock | None = None,
) -> str | None:
    """None when it ended with 0, else how it ended. It and what it started in its session are gone afterwards.

    Without its `lock` it is stopped: whoever holds that now may start the same.
    """
    try:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            **_as_user(identity),
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return f"cannot start {command[0]}: {'there is no such program' if missing else error.strerror}"
    assert process.stdout is not None  # noqa: S101
    output = _Lines(process.stdout.fileno(), on_line)
    try:
        outcome = _follow(process.pid, output, time.monotonic() + timeout, lock)
    finally:
        _stop(process)
        output.rest()
        process.stdout.close()
    if outcome == _Outcome.LOCK_LOST:
        return LOCK_LOST
    if outcome == _Outcome.TIMED_OUT:
        return f"it took longer than its timeout ({timeout:g} s)"
    return _how(process.returncode)


def _die_with_parent() -> None:
    signal_when_parent_dies(signal.SIGKILL)


def _as_user(identity: Identity | None) -> dict[str, Any]:
    if identity is None or os.geteuid() == identity.uid:
        return {}
    return {"user": identity.uid, "group": identity.gid, "extra_groups": list(identity.groups)}


def _follow(pid: int, output: "_Lines", until: float, lock: Lock | None) -> _Outcome:
    """How the wait for the process ended. Its end counts, not its output's: what it left behind may hold that open."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        for descriptor in (pidfd, output.descriptor, *([lock.descriptor] if lock else ())):
            poll.register(descriptor, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _event in poll.poll(left * 1000)]
            if output.descriptor in ready and not output.read():
                poll.unregister(output.descriptor)
            if pidfd in ready:
                return _Outcome.ENDED
            if lock and lock.descriptor in ready and lock.is_lost():
                return _Outcome.LOCK_LOST
        return _Outcome.TIMED_OUT
    finally:
        os.close(pidfd)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the whole session: gently when it still runs, and then for sure."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _how(code: int) -> str | None:
    if code == 0:
        return None
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


class _Lines:
    """Cuts a descriptor's bytes into lines of text."""

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        self.descriptor = descriptor
        self._on_line = on_line
        self._begun = b""
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Takes what is there; False at the end."""
        try:
            data = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return True
        *lines, self._begun = (self._begun + data).split(b"\n")
        if not data or len(self._begun) > _LONGEST_LINE:
            lines, self._begun = [*lines, self._begun], b""
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                self._on_line(text)
        return bool(data)

    def rest(self) -> None:
        """Takes what is left without waiting for more."""
        while select.select([self.descriptor], [], [], 0)[0] and self.read():
            pass
        self._begun = b"" if not self._begun else self._flush()

    def _flush(self) -> bytes:
        self._on_line(self._begun.decode(errors="replace").rstrip())
        return b""
