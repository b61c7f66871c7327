"""The access log: one line for each request, collected in memory and written in few system calls.

Text: `2026-11-23T06:22:01.123Z 127.0.0.1:5345 "GET /path?x HTTP/1.1" 200 1.2ms`; JSON: the same as an object a line.
"""

import json
import os
import select
import stat
import time
from collections.abc import Callable

from fairlead.observability.events import EventLog, open_log_file

_FLUSH_AT = 64 * 1024
_HOLD_AT_MOST = 1024 * 1024
"""Bytes kept for a reader that is slow; beyond it lines are dropped and counted."""
_LONGEST_TARGET = 2000
"""Characters. Keeps a line below PIPE_BUF, so that lines of several workers never mix on a pipe."""
_PIPE_BUF = select.PIPE_BUF


def is_plain(text: str) -> bool:
    """Whether `text` can stand in a quoted field as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def escape(text: str) -> str:
    """`text` with everything that could end a quoted field, a line or a terminal's patience as an escape sequence."""
    if is_plain(text):
        return text
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isascii() and character.isprintable():
        return character
    return character.encode("unicode_escape").decode() if character > "\xff" else f"\\x{ord(character):02x}"


class AccessLog:
    """Collects lines; `flush` writes them. Never raises: what cannot be written is counted, and said once."""

    def __init__(self, format: str, log: EventLog, path: str | None = None, descriptor: int = 1) -> None:  # noqa: A002
        """To the file `path`, or else to `descriptor`. OSError when the file cannot be opened."""
        self._log = log
        self._path = path
        self._descriptor = open_log_file(path) if path is not None else descriptor
        self._lines: list[str] = []
        self._size = 0
        self._pending = b""
        self._lost = 0
        self._second = self._milli = -1
        self._to_second = self._stamp = ""
        self._offset = time.time() - time.monotonic()
        self._write = self._writer()
        self._render = self._json if format == "json" else self._text

    def add(self, client: str, method: str, target: bytes, version: str, status: int, began: float, now: float) -> None:
        """One request: `began` and `now` are time.monotonic()."""
        milli = int((now + self._offset) * 1000)
        if milli != self._milli:
            self._take_time(milli)
        text = target.decode("latin-1")
        if len(text) > _LONGEST_TARGET or not is_plain(text):
            text = _shorten(escape(text))
        line = self._render(client, method, text, version, status, now - began)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_AT:
            self.flush()

    def _take_time(self, milli: int) -> None:
        """The stamp of the lines of this millisecond; a busy worker has many of them."""
        self._milli = milli
        second, rest = divmod(milli, 1000)
        if second != self._second:
            self._second = second
            self._to_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._stamp = f"{self._to_second}.{rest:03d}Z"

    def _text(self, client: str, method: str, target: str, version: str, status: int, seconds: float) -> str:
        return f'{self._stamp} {client} "{method} {target} HTTP/{version}" {status} {seconds * 1000:.1f}ms\n'

    def _json(self, client: str, method: str, target: str, version: str, status: int, seconds: float) -> str:
        path = json.dumps(target) if "\\" in target else f'"{target}"'
        return (
            f'{{"time": "{self._stamp}", "event": "access", "client": "{client}", "method": "{method}", '
            f'"target": {path}, "http": "{version}", "status": {status}, "seconds": {seconds:.6f}}}\n'
        )

    def flush(self) -> None:
        """Writes what was collected, as far as the other side takes it."""
        self._offset = time.time() - time.monotonic()
        data = self._pending + "".join(self._lines).encode()
        self._lines.clear()
        self._size = 0
        if not data:
            return
        try:
            self._pending = data[self._write(data) :]
        except OSError as error:
            self._lose(data, error.strerror or str(error))
            self._pending = b""
            return
        if len(self._pending) > _HOLD_AT_MOST:
            self._lose(self._pending, "the reader is too slow")
            self._pending = b""
        elif self._lost and not self._pending:
            self._log.info("access_log.works_again", lost=self._lost)
            self._lost = 0

    def _lose(self, data: bytes, cause: str) -> None:
        if not self._lost:
            self._log.error("access_log.failed", cause=cause, file=self._path)
        self._lost += data.count(b"\n")

    def reopen(self) -> None:
        """Opens the file again by its path (log rotation); the old one goes on when that fails."""
        self.flush()
        if self._path is None:
            return
        try:
            fresh = open_log_file(self._path)
        except OSError as error:
            self._log.error("access_log.reopen_failed", file=self._path, cause=error.strerror)
            return
        os.close(self._descriptor)
        self._descriptor = fresh
        self._write = self._writer()

    def close(self) -> None:
        """Writes the rest; closes the file if it is our own."""
        self.flush()
        if self._path is not None:
            os.close(self._descriptor)

    def _writer(self) -> Callable[[bytes], int]:
        try:
            regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:
            regular = True
        return self._write_file if regular else self._write_stream

    def _write_file(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def _write_stream(self, data: bytes) -> int:
        """Writes whole lines in pieces that are atomic on a pipe, while there is room: a stuck reader must not block us.

        The descriptor is shared with other processes, so it cannot be made non-blocking.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        done = 0
        while done < len(data) and any(event & select.POLLOUT for _, event in poll.poll(0)):
            end = data.rfind(b"\n", done, done + _PIPE_BUF) + 1
            if end <= done:
                end = data.index(b"\n", done) + 1
            try:
                done += os.write(self._descriptor, data[done:end])
            except BlockingIOError:
                break
        return done


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_TARGET else text[:_LONGEST_TARGET] + "..."
