"""A lock and a memory that several hosts share: a session advisory lock of PostgreSQL, and one small table."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from psycopg import Connection

_TABLE = (
    "CREATE TABLE IF NOT EXISTS fairlead_steps (app text, step text, release text NOT NULL, "
    "ran_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (app, step))"
)
_CONNECT = 10
_MISSING = "psycopg is missing; try: pip install 'fairlead[postgres]'"


class Shared:
    """What the hosts know together of one app's step. Valid while its lock is held."""

    def __init__(self, connection: "Connection[tuple[Any, ...]]", app: str, step: str) -> None:
        self._connection = connection
        self._key = (app, step)

    def ran_for(self) -> str | None:
        """The fingerprint of the release that the step last ran for, on any host."""
        found = self._connection.execute(
            "SELECT release FROM fairlead_steps WHERE app = %s AND step = %s", self._key
        ).fetchone()
        return found[0] if found else None

    def remember(self, release: str) -> None:
        """Keeps a success."""
        self._connection.execute(
            "INSERT INTO fairlead_steps (app, step, release) VALUES (%s, %s, %s) "
            "ON CONFLICT (app, step) DO UPDATE SET release = excluded.release, ran_at = now()",
            (*self._key, release),
        )


def lock_number(app: str) -> int:
    """The advisory lock of an app's steps: 64 bits of its name's hash."""
    return int.from_bytes(hashlib.sha256(f"fairlead steps {app}".encode()).digest()[:8], "big", signed=True)


def look_up(address: str, app: str) -> dict[str, tuple[str, float]]:
    """Step → the fingerprint it last ran for on any host, and when (seconds since the epoch). Takes no lock, makes nothing.

    FairleadError without the address, which may hold a password.
    """
    with _connected(address, app, "ask PostgreSQL") as connection:
        connection.execute(f"SET statement_timeout = {_CONNECT * 1000}")
        if connection.execute("SELECT to_regclass('fairlead_steps')").fetchone() == (None,):
            return {}
        found = connection.execute(
            "SELECT step, release, extract(epoch FROM ran_at)::float8 FROM fairlead_steps WHERE app = %s", (app,)
        )
        return {str(step): (str(release), float(at)) for step, release, at in found}


@contextmanager
def locked(address: str, app: str, step: str, patience: float) -> Iterator[Shared]:
    """Holds the lock of that app's steps in the database. FairleadError without the address, which may hold a password."""
    with _connected(address, app, f"lock step {step} in PostgreSQL") as connection:
        connection.execute(f"SET lock_timeout = {int(patience * 1000)}")
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_number(app),))
        connection.execute("SET client_min_messages = warning")
        connection.execute(_TABLE)
        yield Shared(connection, app, step)


@contextmanager
def _connected(address: str, app: str, what: str) -> Iterator["Connection[tuple[Any, ...]]"]:
    """A connection in which each statement stands alone. What fails in it is a FairleadError: "cannot `what`: …"."""
    try:
        import psycopg
    except ImportError:
        raise FairleadError(f"cannot {what}: {_MISSING}") from None
    try:
        with psycopg.connect(
            address, autocommit=True, connect_timeout=_CONNECT, application_name=f"fairlead steps {app}"
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise FairleadError(f"cannot {what}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
