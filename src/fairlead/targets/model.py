"""What a target is given and what it returns. Plain data."""

import hashlib
from collections.abc import Callable
from enum import StrEnum

from fairlead.errors import InputError
from fairlead.lean_dataclass import dataclass
from fairlead.plan.model import Plan

CONCEPTS = ("https", "startup", "restarts", "replication", "memory", "steps")
_MARK = "# Made by Fairlead; a change by hand is found by this sum: "


class Who(StrEnum):
    """Who takes care of a concept on a target."""

    RENDERED = "rendered"
    """The target's own means, by what the files say."""
    FAIRLEAD = "left to Fairlead"
    """Fairlead does it, there as anywhere."""
    CANNOT = "cannot"
    """Nobody does; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class Care:
    """One concept on one target: who, and how in a few words."""

    who: Who
    how: str


@dataclass(frozen=True, slots=True)
class Site:
    """A plan and what only those who install it must know. Paths are absolute.

    `program`: what starts Fairlead, `run` and its arguments included. `reads`: folders that the service must be able to
    read. `writes`: folders that it must be able to write to beyond its state. `user` None: a user of its own.
    """

    plan: Plan
    program: tuple[str, ...]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    user: str | None = None
    group: str | None = None
    personal: bool = False
    """For the service manager of one user, without root."""
    listed: bool = False
    """Whether the places to listen are listed in http.bind, and not given as http.host and http.port."""
    takes_port: bool = True
    """Whether PORT in the environment may name another port than the plan's."""
    memory: int | None = None
    """Bytes that the memory budget was set to, when it is a size; a share follows whatever limit there is."""
    environment_file: str | None = None
    credentials: tuple[tuple[str, str], ...] = ()
    python: str = "3.13"
    """The Python that a container image is built with, as X.Y."""
    lock: str | None = None
    """What pins the dependencies, in the app's folder: uv.lock, requirements.txt or pyproject.toml."""
    lock_parts: tuple[str, ...] = ()
    """Files that requirements.txt takes in; relative to the app's folder."""
    config: str | None = None
    """The configuration file, when it was named; relative to the app's folder where it lies in it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to write; `path` is relative to wherever the target's files go."""

    path: str
    text: str
    mode: int = 0o644

    @property
    def marked(self) -> str:
        """The text below a line that tells later whether a person has changed it."""
        return f"{_MARK}{_sum(self.text)}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Target:
    """A home. `render` raises InputError when the plan cannot live there; `after` says what to do with the files."""

    name: str
    about: str
    render: Callable[[Site], list[File]]
    cares: dict[str, Care]
    after: str


def is_ours(text: str) -> bool:
    """Whether Fairlead made the file."""
    return text.startswith(_MARK)


def is_untouched(text: str) -> bool:
    """Whether Fairlead made the file and nobody has changed it since."""
    head, _, body = text.partition("\n")
    return is_ours(text) and head.removeprefix(_MARK) == _sum(body)


def memory_limit(site: Site) -> int | None:
    """The limit that fits the memory budget: a tenth beyond it, so that Fairlead acts before the kernel does."""
    return None if site.memory is None else site.memory + site.memory // 10


def stop_seconds(plan: Plan) -> int:
    """How long a stop may take until the last process of the service has to be gone: whoever kills earlier breaks a promise."""
    return round(max(plan.restarts.drain_deadline, *(one.stop_timeout for one in plan.companions), 0.0) + 10)


def one_line(value: str, what: str) -> str:
    """The value, which must not break out of its line in a file."""
    if not value.isprintable():
        raise InputError(f"cannot write {what} {value!r} into a file: it has a line break or control character")
    return value


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
