"""A short-lived process with a job: JSON goes in, lines come out, and it ends, by itself or not."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

from fairlead.host.processes import send_signal
from fairlead.host.spawn import spawn
from fairlead.lean_dataclass import dataclass

_LONGEST_OUTPUT = 1024 * 1024
"""Bytes that are kept of each output."""


@dataclass(frozen=True, slots=True)
class HeldProcess:
    """A process under way, as it goes over to the program that takes this one's place.

    `output` and `error` are read; `said` and `errors` have been read and not used yet; at `ends` (time.monotonic())
    its time is over.
    """

    pid: int
    output: int
    error: int
    ends: float
    said: str = ""
    errors: str = ""


class JobProcess:
    """A process that is `held`: the readers of its outputs, and its deadline.

    `line` gets every whole line of its standard output; `done` is called once, when it has been reaped or never
    started, with what it wrote to its standard error. It gets SIGTERM when its time is over and SIGKILL ten seconds later.
    """

    def __init__(self, held: HeldProcess, line: Callable[[str], None], done: Callable[[str], None]) -> None:
        self._line = line
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._rest = held.said.encode()
        self._errors = held.errors.encode()
        self.pid: int | None = held.pid or None
        self._output, self._error = held.output, held.error
        for descriptor in (self._output, self._error):
            os.set_blocking(descriptor, False)
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._ends = held.ends
        self._timer = self._loop.call_later(max(0.0, held.ends - time.monotonic()), self.stop)
        if self.pid is None:
            self._loop.call_soon(self._finish)

    @classmethod
    def start(
        cls, module: str, text: str, deadline: float, line: Callable[[str], None], done: Callable[[str], None]
    ) -> "JobProcess":
        """Runs `python -P -m MODULE` with `text` on its standard input, for `deadline` seconds at most."""
        ours, theirs = os.pipe()
        our_error, their_error = os.pipe()
        stdin = os.memfd_create("fairlead-job", os.MFD_CLOEXEC)
        pid, problem = 0, ""
        try:
            os.write(stdin, text.encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            pid = spawn([sys.executable, "-P", "-m", module], (), {0: stdin, 1: theirs, 2: their_error})
        except OSError as error:
            problem = f"cannot start {module}: {error.strerror}"
        finally:
            for descriptor in (stdin, theirs, their_error):
                os.close(descriptor)
        held = HeldProcess(pid, ours, our_error, time.monotonic() + deadline, errors=problem)
        return cls(held, line, done)

    def held(self) -> HeldProcess | None:
        """What goes over to another program; None when the process has ended. This one goes on unless it is replaced."""
        if self.pid is None:
            return None
        said, errors = (text.decode(errors="replace") for text in (self._rest, self._errors))
        return HeldProcess(self.pid, self._output, self._error, self._ends, said, errors)

    def stop(self) -> None:
        """Asks it to end, and ends it when it does not."""
        self._timer.cancel()
        self._timer = self._loop.call_later(10.0, self.kill)
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)

    def reaped(self, pid: int) -> bool:
        """Whether the child that was reaped is this one; if so, this is its end."""
        if pid != self.pid:
            return False
        self.pid = None
        self._finish()
        return True

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            send_signal(self.pid, number)

    def _read(self, descriptor: int) -> bool:
        """Takes what is there; False when there is nothing more."""
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(descriptor)
            return False
        if descriptor == self._error:
            self._errors = (self._errors + data)[-_LONGEST_OUTPUT:]
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_OUTPUT:]
        for line in lines:
            self._line(line.decode(errors="replace"))
        return True

    def _finish(self) -> None:
        """Grandchildren may hold the pipes open, so the end is the process's own, not theirs."""
        self._timer.cancel()
        for descriptor in (self._output, self._error):
            while self._read(descriptor):
                pass
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._done(self._errors.decode(errors="replace").strip())
