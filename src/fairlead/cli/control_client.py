"""Asking a supervisor over its control socket: one line of JSON, progress lines, one answer. Every wait has a deadline."""

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from os import close, pidfd_open
from typing import Any, Self

from fairlead.cli.instances import Instance
from fairlead.errors import FairleadError

SILENCE = 30.0
"""Seconds without a line after which the supervisor does not answer: it says something every ten."""
CONNECT_DEADLINE = 5.0
LONGEST_ANSWER = 16 * 1024 * 1024


class ControlClient:
    """One connection, for one request."""

    def __init__(self, instance: Instance) -> None:
        """Connects; FairleadError when nobody is there."""
        self._instance = instance
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(CONNECT_DEADLINE)
        try:
            self._socket.connect(str(self._instance.socket))
        except OSError as error:
            self._socket.close()
            raise FairleadError(f"cannot reach the instance {self._instance.name}: {_why(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self._socket.close()

    def ask(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        progress: Callable[[str], None] = lambda _text: None,
        silence: float = SILENCE,
    ) -> dict[str, Any]:
        """The result. FairleadError with the supervisor's cause when it refuses or fails, or is silent for `silence` s."""
        request = json.dumps({"command": command, "arguments": arguments or {}}).encode() + b"\n"
        try:
            for line in self._answers(request, silence):
                answer = _parsed(line, command)
                if "progress" in answer:
                    progress(str(answer["progress"]))
                else:
                    return _result(answer, command)
        except TimeoutError as error:
            cause = f"the supervisor does not answer (nothing for {silence:g} s)"
            raise FairleadError(f"cannot {self._what(command)}: {cause}") from error
        except ConnectionError as error:
            raise FairleadError(f"cannot {self._what(command)}: {_why(error)}") from error
        raise FairleadError(f"cannot {self._what(command)}: the supervisor went away without an answer")

    def _what(self, command: str) -> str:
        name = self._instance.name
        return f"read the status of {name}" if command == "status" else f"{command} {name}"

    def peer(self) -> int:
        """A pidfd of the supervisor, which the caller closes; -1 when it lives where we cannot see it."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, _uid, _gid = struct.unpack("3i", credentials)
        try:
            return pidfd_open(pid) if pid > 0 else -1
        except OSError:
            return -1

    def _answers(self, request: bytes, silence: float) -> Iterator[bytes]:
        """The lines that answer a request. It is sent once more when the supervisor became another program before reading it:
        the kernel then breaks or resets the connection, while one whose request was read just ends."""
        answered = False
        try:
            self._socket.sendall(request)
            for line in self._lines(silence):
                answered = True
                yield line
        except (BrokenPipeError, ConnectionResetError):
            if answered:
                raise
            self._socket.close()
            self._connect()
            self._socket.sendall(request)
            yield from self._lines(silence)

    def _lines(self, silence: float) -> Iterator[bytes]:
        """Whole lines until the end; TimeoutError when none is complete within `silence` seconds."""
        buffer = b""
        deadline = time.monotonic() + silence
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                return
            buffer += data
            if len(buffer) > LONGEST_ANSWER:
                raise FairleadError(f"cannot read the supervisor's answer: it is longer than {LONGEST_ANSWER} bytes")
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                yield line
                deadline = time.monotonic() + silence


def wait_gone(pidfd: int, timeout: float) -> bool:
    """Whether the process of `pidfd` ends within `timeout` seconds; closes it."""
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        close(pidfd)


def _parsed(line: bytes, command: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise FairleadError(f"cannot {command}: the supervisor's answer is not one of ours: {line[:80]!r}")
    return answer


def _result(answer: dict[str, Any], command: str) -> dict[str, Any]:
    if answer.get("ok") is True:
        result = answer.get("result")
        return result if isinstance(result, dict) else {}
    error = str(answer.get("error") or f"cannot {command}: the supervisor did not say why")
    detail = str(answer.get("detail") or "").rstrip()
    raise FairleadError(f"{error}\n{detail}" if detail else error)


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "it is not running"
    if isinstance(error, PermissionError):
        return "its control socket is for its own user and root"
    return "it is too busy to answer" if isinstance(error, TimeoutError) else str(error.strerror or error)
