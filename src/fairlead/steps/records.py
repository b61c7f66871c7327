"""The host's memory of steps: one file and one lock per app in the state directory."""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from fairlead.errors import FairleadError
from fairlead.host.files import prepare_state_dir, write_atomically
from fairlead.lean_dataclass import dataclass
from fairlead.plan.model import Plan

_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Ran:
    """A step's last success: for which fingerprint, when (seconds since the epoch), how long (seconds)."""

    release: str
    at: float
    seconds: float


class Records:
    """One app is one importable place on this host, whatever its instances are called."""

    def __init__(self, plan: Plan) -> None:
        place = f"{plan.app.dir}\0{plan.app.module}"
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(plan.app.dir)) or "app"
        key = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:12]
        self._folder = plan.state_dir
        self._base = os.path.join(plan.state_dir, f"steps-{folder}-{key}")

    def read(self) -> dict[str, Ran]:
        """Step → its last success; none when nothing ever ran. FairleadError when the file cannot be understood."""
        path = self._base + ".json"
        try:
            with open(path, "rb") as file:
                return {name: Ran(**item) for name, item in json.load(file)["steps"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise FairleadError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            cause = "it is not one of ours; move it away, and the steps run again"
            raise FairleadError(f"cannot read {path}: {cause}") from error

    def remember(self, step: str, ran: Ran) -> None:
        """Keeps a success. FairleadError when it cannot be kept: then it would run again."""
        steps = {name: asdict(item) for name, item in (self.read() | {step: ran}).items()}
        path = self._base + ".json"
        try:
            write_atomically(path, json.dumps({"steps": steps}, indent=1).encode())
        except OSError as error:
            raise FairleadError(f"cannot write {path}: {error.strerror}") from error

    @contextmanager
    def locked(self, patience: float, waiting: Callable[[], None]) -> Iterator[None]:
        """Holds the app's lock, which the kernel releases with its holder. Calls `waiting` once when others hold it."""
        prepare_state_dir(self._folder)
        path = self._base + ".lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FairleadError(f"cannot use {path}: {error.strerror}") from error
        try:
            if not _take(descriptor):
                waiting()
                _wait(descriptor, time.monotonic() + patience)
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(descriptor: int, until: float) -> None:
    while not _take(descriptor):
        if time.monotonic() > until:
            raise FairleadError("cannot run the steps: another process of this app holds their lock for too long")
        time.sleep(_POLL)
