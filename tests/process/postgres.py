"""A real PostgreSQL server on a unix socket and a free port of 127.0.0.1, in a folder of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a database of a server that is gone afterwards. Skips where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="fairlead-pg-"))
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, control = folder / "data", programs / "pg_ctl"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

    def run(*command: object) -> None:
        subprocess.run(
            [str(word) for word in command], check=True, user=user, cwd=folder, timeout=60, capture_output=True
        )

    run(programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "--no-sync")
    try:
        run(control, "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run(control, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
