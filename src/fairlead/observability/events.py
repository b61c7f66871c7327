"""Fairlead's own log: fixed event names, one prefix per entity, text for people and JSON for machines.

Tests read the same lines as operators do, so a line's event name and field names are part of the contract.
"""

import json
import os
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Protocol

from fairlead.observability.journal import leads_to_journal, with_priority

LEVELS = ("debug", "info", "warning", "error")
_COLOURS = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m", "error": "\x1b[31m"}
_BLOCKS = ("traceback", "stacks", "detail")
"""Fields of several lines: text shows them indented below the line."""


class Sink(Protocol):
    """Where lines go. `write` must not raise: a log that cannot be written must not stop the service."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on."""

    @property
    def is_journal(self) -> bool:
        """Whether systemd's journal takes the lines."""

    def write(self, data: bytes) -> None:
        """Takes whole lines."""

    def reopen(self) -> None:
        """Opens the file again by its path; nothing where there is no path."""


class DescriptorSink:
    """Writes to a descriptor in the caller's thread. For workers, whose stdout may as well be slow."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def is_terminal(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    @property
    def is_journal(self) -> bool:
        """Whether the descriptor leads to systemd's journal."""
        return leads_to_journal(self._descriptor, os.environ)

    def reopen(self) -> None:
        """Nothing to do: a descriptor has no path."""

    def write(self, data: bytes) -> None:
        """Writes all of `data`; gives up on the first error, for there is nowhere left to say it."""
        write_all(self._descriptor, data)


class FileSink(DescriptorSink):
    """Appends to a file in the caller's thread. A file that cannot be opened is said once, and stderr is used."""

    def __init__(self, path: str) -> None:
        super().__init__(2)
        self._path = path
        self.reopen()

    def reopen(self) -> None:
        """Opens the file again by its path; the old one goes on when that fails."""
        try:
            fresh = open_log_file(self._path)
        except OSError as error:
            self.write(f"cannot open the log file {self._path}: {error.strerror}\n".encode())
            return
        if self._descriptor != 2:
            os.close(self._descriptor)
        self._descriptor = fresh


class ThreadedSink:
    """Writes from a thread of its own, so that a stuck pipe or disk never blocks the caller.

    Holds at most `limit` lines; what comes beyond is dropped, counted, and said as soon as writing works again.
    """

    def __init__(self, descriptor: int, path: str | None = None, limit: int = 10_000) -> None:
        self._descriptor = descriptor
        self._path = path
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._reopen = False
        self._closing = False
        self._writing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def is_terminal(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    @property
    def is_journal(self) -> bool:
        """Whether the descriptor leads to systemd's journal."""
        return leads_to_journal(self._descriptor, os.environ)

    def write(self, data: bytes) -> None:
        """Queues whole lines; never blocks."""
        with self._wake:
            if len(self._lines) >= self._limit:
                self._dropped += 1
                return
            self._lines.append(data)
            self._wake.notify_all()

    def reopen(self) -> None:
        """Opens the file again by its path, after what is queued has been written. Nothing to do without a path."""
        with self._wake:
            self._reopen = True
            self._wake.notify_all()

    def flush(self, timeout: float = 1.0) -> None:
        """Waits until what is queued is written, for at most `timeout` seconds."""
        with self._wake:
            self._wake.wait_for(lambda: not self._lines and not self._writing, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Writes what is queued, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._lines or self._reopen or self._closing):
                    self._wake.wait()
                lines = list(self._lines)
                self._lines.clear()
                dropped, self._dropped = self._dropped, 0
                reopen, self._reopen = self._reopen, False
                closing = self._closing
                self._writing = True
            told = f"log.dropped lines={dropped} cause='the log could not be written'\n".encode() if dropped else b""
            if not write_all(self._descriptor, told + b"".join(lines)):
                with self._wake:
                    self._dropped += dropped + len(lines)
            if reopen and self._path is not None:
                self._open_again(self._path)
            with self._wake:
                self._writing = False
                self._wake.notify_all()
            if closing and not lines:
                return

    def _open_again(self, path: str) -> None:
        try:
            fresh = open_log_file(path)
        except OSError as error:
            DescriptorSink(2).write(
                f"cannot reopen the log file {path}: {error.strerror}; the old one goes on\n".encode()
            )
            return
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)


def write_all(descriptor: int, data: bytes) -> bool:
    """Writes all of `data`; False when that fails, as on a full disk or a pipe that nobody reads any more."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True


def open_log_file(path: str) -> int:
    """A descriptor that appends to `path`, which is made when it is missing; OSError when that is refused."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


class EventLog:
    """Writes events of one entity.

    `format`: text or json. `entity`: the prefix, such as `supervisor` or `worker 3`. `sink`: a descriptor or a Sink.
    Field values are text, numbers, booleans, None (left out) or lists of texts; floats are seconds.
    """

    def __init__(self, format: str, entity: str, sink: int | Sink, level: str = "info") -> None:  # noqa: A002
        self._format = format
        self._entity = entity
        self._sink = DescriptorSink(sink) if isinstance(sink, int) else sink
        self._least = LEVELS.index(level)
        self._level = level
        self._journal = self._sink.is_journal
        self._colours = format == "text" and self._sink.is_terminal and "NO_COLOR" not in os.environ

    def of(self, entity: str) -> "EventLog":
        """The same log with another prefix."""
        return EventLog(self._format, entity, self._sink, self._level)

    def reopen(self) -> None:
        """Opens the log's file again by its path (log rotation)."""
        self._sink.reopen()

    def debug(self, event: str, **fields: object) -> None:
        """For whoever looks for a cause."""
        self.write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What happens in the ordinary course of things."""
        self.write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Somebody should look, in office hours."""
        self.write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Somebody should look now."""
        self.write("error", event, fields)

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Writes one event, if the level is not below the log's."""
        if LEVELS.index(level) < self._least:
            return
        now = datetime.now(UTC)
        shown = {key: value for key, value in fields.items() if value is not None and value != ""}
        line = self._json(now, level, event, shown) if self._format == "json" else self._text(now, level, event, shown)
        if self._journal:
            line = with_priority(line, level)
        self._sink.write(line.encode(errors="backslashreplace"))

    def _json(self, now: datetime, level: str, event: str, fields: dict[str, object]) -> str:
        head = {"time": _stamp(now), "level": level, "entity": self._entity, "event": event}
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in fields.items()}
        return json.dumps({**head, **rounded}, default=str) + "\n"

    def _text(self, now: datetime, level: str, event: str, fields: dict[str, object]) -> str:
        words = " ".join(f"{key}={_plain(value)}" for key, value in fields.items() if key not in _BLOCKS)
        blocks = [str(fields[key]) for key in _BLOCKS if key in fields]
        mark = "" if level in ("debug", "info") else f"{level.upper()} "
        stamp = "" if self._journal else f"{_stamp(now)} "  # the journal has a clock of its own
        line = f"{stamp}{self._entity:<12} {mark}{event} {words}".rstrip()
        if self._colours and _COLOURS[level]:
            line = f"{_COLOURS[level]}{line}\x1b[0m"
        below = "".join("    " + part + "\n" for block in blocks for part in block.rstrip().splitlines())
        return line + "\n" + below


def _stamp(now: datetime) -> str:
    """UTC, as the access log has it: lines of both can be put in order."""
    return now.strftime("%Y-%m-%dT%H:%M:%S") + f".{now.microsecond // 1000:03d}Z"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}s"
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    text = str(value)
    # Quoted when it would not read back as one word; repr also keeps line breaks out of the line.
    return repr(text) if not text.isprintable() or any(character in text for character in " '\"=") else text
