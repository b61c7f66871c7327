"""A short-lived process with a job: JSON goes in, lines come out, and it ends, by itself or not."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from fairlead.host.processes import send_signal
from fairlead.host.spawn import spawn

_LONGEST_OUTPUT = 1024 * 1024
"""Bytes that are kept of each output."""


class JobProcess:
    """One run of `python -P -m MODULE` with `text` on its standard input.

    `line` gets every whole line of its standard output; `done` is called once, when it has been reaped or never
    started, with what it wrote to its standard error. It gets SIGTERM at `deadline` seconds and SIGKILL ten later.
    """

    def __init__(
        self, module: str, text: str, deadline: float, line: Callable[[str], None], done: Callable[[str], None]
    ) -> None:
        self._line = line
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._errors = b""
        self.pid: int | None = None
        self._output, output = os.pipe()
        self._error, error = os.pipe()
        stdin = os.memfd_create("fairlead-job", os.MFD_CLOEXEC)
        try:
            os.write(stdin, text.encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            self.pid = spawn([sys.executable, "-P", "-m", module], (), {0: stdin, 1: output, 2: error})
        except OSError as problem:
            self._errors = f"cannot start {module}: {problem.strerror}".encode()
            self._loop.call_soon(self._finish)
        finally:
            for descriptor in (stdin, output, error):
                os.close(descriptor)
        for descriptor in (self._output, self._error):
            os.set_blocking(descriptor, False)
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._timer = self._loop.call_later(deadline, self.stop)

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
