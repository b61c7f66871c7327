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
_SETTINGS = {
    "connect_timeout": _CONNECT,
    # A step may take an hour in which nothing is said here: whatever is on the way keeps a connection that is alive, and
    # one that is not is noticed within a minute. What the address itself says comes first.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_MISSING = "psycopg is missing; try: pip install 'fairlead[postgres]'"


class Shared:
    """What the hosts know together of one app's step. Valid while its lock is held, which the connection holds.

    `descriptor`: becomes readable when there is reason to ask whether the lock `is_lost`.
    """

    def __init__(self, connection: "Connection[tuple[Any, ...]]", app: str, step: str) -> None:
        self._connection = connection
        self._key = (app, step)
        self.descriptor = connection.fileno()

    def is_lost(self) -> bool:
        """Whether the connection is over, and the lock with it: another host may hold it by now."""
        from psycopg import OperationalError, pq

        connection = self._connection.pgconn
        try:
            connection.consume_input()
        except OperationalError:
            return True
        return connection.status != pq.ConnStatus.OK

    def ran_for(self) -> str | None:
        """The fingerprint of the release that the step last ran for, on any host."""
        found = self._connection.execute(
            "SELECT release FROM fairlead_steps WHERE app = %s AND step = %s", self._key
        ).fetchone()
        return found[0] if found else None

    def remember(self, release: str) -> None:
        """Keeps a success. FairleadError when it cannot be kept: then it runs again."""
        with _told(f"remember in PostgreSQL that step {self._key[1]} ran"):
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
        # A role or a database may have limits for what applications do; here, waiting is the work.
        connection.execute("SET statement_timeout = 0")
        connection.execute(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
        )  # since PostgreSQL 14
        connection.execute(f"SET lock_timeout = {int(patience * 1000)}")
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_number(app),))
        if connection.execute("SELECT to_regclass('fairlead_steps')").fetchone() == (None,):
            connection.execute(_TABLE)  # a role that may not make tables uses one that was made for it
        yield Shared(connection, app, step)


@contextmanager
def _connected(address: str, app: str, what: str) -> Iterator["Connection[tuple[Any, ...]]"]:
    """A connection in which each statement stands alone. What fails in it is a FairleadError: "cannot `what`: …"."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise FairleadError(f"cannot {what}: {_MISSING}") from None
    try:
        parts = conninfo_to_dict(address)
    except psycopg.Error:
        # Its own words may quote a part of the password.
        raise FairleadError(f"cannot {what}: PostgreSQL cannot take the address in lock apart") from None
    settings: dict[str, Any] = {**_SETTINGS, "application_name": f"fairlead steps {app}", **parts}
    with _told(what), psycopg.connect(autocommit=True, **settings) as connection:
        yield connection


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What PostgreSQL refuses is a FairleadError: "cannot `what`: …"."""
    from psycopg import Error

    try:
        yield
    except Error as error:
        raise FairleadError(f"cannot {what}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
