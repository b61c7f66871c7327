"""Frozen messages between supervisor, template and worker.

One message is one datagram of JSON on a SOCK_SEQPACKET pair; descriptors travel beside it (SCM_RIGHTS).
Everything a receiver needs to drop a stale message is in the message or in the channel it came by: a channel
belongs to one process for its whole life.
"""

import dataclasses
import json
from dataclasses import field
from typing import Any

from fairlead.lean_dataclass import dataclass

MAX_MESSAGE = 96 * 1024
"""Bytes. Below the default socket buffer (208 kB), so that a send never needs more than one buffer."""


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages."""


# supervisor -> a process that was started before there was a plan


@dataclass(frozen=True, slots=True)
class Begin(Message):
    """Become what the arguments say. Descriptors: [plan, stacks, scoreboard, listeners …]."""

    arguments: tuple[str, ...]


# supervisor -> template


@dataclass(frozen=True, slots=True)
class Fork(Message):
    """Fork a worker. Descriptors: [the worker's end of its channel, the file its stacks are dumped into]."""

    worker: int
    slot: int


@dataclass(frozen=True, slots=True)
class ForkSpare(Message):
    """Fork an idle copy of the template, which takes over when the template dies. Descriptors: [its channel]."""

    spare: int


@dataclass(frozen=True, slots=True)
class ForkCompanion(Message):
    """Fork a companion that calls its function. Descriptors: [its channel, the file its stacks are dumped into]."""

    companion: int
    name: str


# template -> supervisor


@dataclass(frozen=True, slots=True)
class Imported(Message):
    """The app is loaded. `unsafe` names what makes forking unsafe (empty: safe). `seconds`: the import's duration.

    `memory`: bytes that the process holds now, for itself or to share. `code`: changes with the files of the app that were imported.
    """

    app: str
    seconds: float
    unsafe: tuple[str, ...] = ()
    memory: int = 0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Forked(Message):
    """The process `pid` (a child of the supervisor by now) was forked as worker or spare `process`."""

    process: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkFailed(Message):
    """The kernel refused the fork of `process`."""

    process: int
    cause: str


# template or worker -> supervisor


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """A start failed. `stage`: import, lifespan, probe, step. `traceback`: the user's frames, a step's last lines, or empty."""

    stage: str
    cause: str
    traceback: str = ""


# steps -> supervisor


@dataclass(frozen=True, slots=True)
class StepBegins(Message):
    """A step is about to run, or waits for its turn."""

    text: str


@dataclass(frozen=True, slots=True)
class StepsRan(Message):
    """All steps that were due have succeeded; their names."""

    names: tuple[str, ...] = ()


# supervisor -> worker


@dataclass(frozen=True, slots=True)
class Serve(Message):
    """Start to accept. A worker that is ready waits for this, so that a release takes over as a whole."""


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Stop accepting, finish what is there, leave. `last` also empties the accept queue: nobody follows."""

    reason: str
    last: bool = False


@dataclass(frozen=True, slots=True)
class SwapCertificate(Message):
    """Take the certificate `key` from the store again; connections that are open keep the old one."""

    key: str


@dataclass(frozen=True, slots=True)
class ReopenLogs(Message):
    """Open log files again by their paths (log rotation)."""


# worker -> supervisor


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """Lifespan startup and the probe are through. `seconds` since the worker's process began.

    `memory`: bytes that the worker holds for itself alone by now.
    """

    seconds: float
    memory: int = 0


@dataclass(frozen=True, slots=True)
class CompanionBegins(Message):
    """All that a companion's function needs is there, and it is called now."""


@dataclass(frozen=True, slots=True)
class WantsRecycle(Message):
    """The worker reached a limit of its own (max_requests) and asks for a successor; it serves on until drained."""

    reason: str


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """The worker takes no new connections any more; what was in the accept queue is taken when the drain was `last`."""


@dataclass(frozen=True, slots=True)
class Drained(Message):
    """The drain's outcome. What had to be cut at a deadline, by kind."""

    requests_cut: int = 0
    streams_ended: int = 0
    websockets_closed: int = 0
    details: tuple[str, ...] = field(default=())


_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in Message.__subclasses__()}


def encode(message: Message) -> bytes:
    """One datagram. Long texts are cut so that it always fits MAX_MESSAGE."""
    body = {spec.name: getattr(message, spec.name) for spec in dataclasses.fields(message)}
    data = json.dumps([type(message).__name__, body]).encode()
    if len(data) > MAX_MESSAGE:
        body = {key: value[-16_000:] if isinstance(value, str) else value for key, value in body.items()}
        data = json.dumps([type(message).__name__, body]).encode()
    return data


def decode(data: bytes) -> Message:
    """The message of a datagram; ValueError when it is none of ours."""
    try:
        name, body = json.loads(data)
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in body.items()}
        return _TYPES[name](**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"cannot read a message: {data[:80]!r}") from error
