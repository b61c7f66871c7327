"""One run of a command that is asked something: its answer comes through a pipe, its complaints through another."""

import asyncio
import os
import signal
from collections.abc import Callable

from fairlead.host.processes import send_signal
from fairlead.host.spawn import spawn

DEADLINE = 60.0
LONGEST_OUTPUT = 4 * 1024 * 1024


class Inquiry:
    """Starts `command` with the answer's descriptor as its last argument. Calls `done(answer, problem)` once, unless it is
    stopped before.

    `problem` is why there can be no answer, or what the command said when it gave none.
    """

    def __init__(self, command: list[str], inherit: tuple[int, ...], done: Callable[[str, str], None]) -> None:
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._answer, answer_write = os.pipe()
        self._errors, errors_write = os.pipe()
        self._output = {self._answer: bytearray(), self._errors: bytearray()}
        self._open = set(self._output)
        self.pid: int | None = None
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._timer = self._loop.call_later(DEADLINE, self._finish, f"it took longer than {DEADLINE:.0f} s")
        try:
            self.pid = spawn([*command, str(answer_write)], (*inherit, answer_write), {2: errors_write})
        except OSError as error:
            self._loop.call_soon(self._finish, f"cannot start {command[0]}: {error.strerror}")
        finally:
            os.close(answer_write)
            os.close(errors_write)

    def reaped(self, pid: int) -> None:
        """A child is gone; if it is ours, its pid may be somebody else's from now on."""
        if pid == self.pid:
            self.pid = None

    def stop(self) -> set[int]:
        """Nobody wants to know any more: `done` is not called. Returns the pid that is still to be reaped."""
        self._timer.cancel()
        for descriptor in list(self._open):
            self._close(descriptor)
        if self.pid is None:
            return set()
        send_signal(self.pid, signal.SIGKILL)
        return {self.pid}

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        if data and len(self._output[descriptor]) < LONGEST_OUTPUT:
            self._output[descriptor] += data
            return
        self._close(descriptor)
        if not self._open:
            self._finish("")

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _finish(self, problem: str) -> None:
        self._timer.cancel()
        for descriptor in list(self._open):
            self._close(descriptor)
        if self.pid is not None and problem:
            send_signal(self.pid, signal.SIGKILL)
        answer = self._output[self._answer].decode(errors="replace")
        said = self._output[self._errors].decode(errors="replace").strip()
        self._done("" if problem else answer, problem or said)
