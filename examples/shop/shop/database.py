"""The SQLite database: several processes write to it, so it is in WAL mode and waits for its turn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]


def open_engine(path: Path) -> Engine:
    """An engine for the file at `path`. It connects on first use; call it in the lifespan, not at import."""
    engine = create_engine(f"sqlite:///{path}", pool_size=10, max_overflow=30)  # a request holds one; 40 run at a time
    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    # The timeout comes first: switching to WAL may itself have to wait for another process.
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def sessions(connection: HTTPConnection) -> Sessions:
    """The running app's session factory."""
    factory: Sessions = connection.app.state.sessions
    return factory


def session(factory: Annotated[Sessions, Depends(sessions)]) -> Iterator[Session]:
    """One session a request."""
    with factory() as opened:
        yield opened


SessionsDep = Annotated[Sessions, Depends(sessions)]
SessionDep = Annotated[Session, Depends(session)]
