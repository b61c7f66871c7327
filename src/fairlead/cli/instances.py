"""Which running instance a command means. Standard library only: a command about a service must be quick."""

import socket
from collections.abc import Mapping
from pathlib import Path

from fairlead.config.files import read_config
from fairlead.errors import FairleadError, InputError
from fairlead.lean_dataclass import dataclass
from fairlead.plan.names import default_name, runtime_dirs

_CONNECT_DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Instance:
    """A supervisor that runs, and its control socket."""

    name: str
    socket: Path


def find_instance(name: str | None, config: str | None, cwd: Path, environ: Mapping[str, str], uid: int) -> Instance:
    """The instance of that name, else of the configuration here, else the only one. FairleadError names the others."""
    folders = runtime_dirs(environ, uid)
    running, closed = _running(folders)
    if wanted := name or environ.get("FAIRLEAD_APP_NAME") or configured_name(cwd, environ, config):
        return _named(wanted, running, closed)
    here = default_name(cwd)
    if here in running:
        return running[here]
    if len(running) == 1:
        return next(iter(running.values()))
    if running:
        raise InputError(f"cannot choose the instance: {_list(running)} are running; name one with --name")
    raise FairleadError(f"cannot find an instance: none is running (looked into {_places(folders)}){_hint(closed)}")


def configured_name(cwd: Path, environ: Mapping[str, str], config: str | None) -> str | None:
    """The name that the configuration here gives; None when there is none here."""
    file = read_config(cwd, environ, config)
    if file is None:
        return None
    app = file.data.get("app")
    name = app.get("name") if isinstance(app, dict) else None
    return name if isinstance(name, str) else default_name(file.folder)


def _named(name: str, running: dict[str, Instance], closed: list[Path]) -> Instance:
    if name in running:
        return running[name]
    others = f"; running: {_list(running)}" if running else ""
    raise FairleadError(f"cannot find the instance: no instance named {name} is running{others}{_hint(closed)}")


def _running(folders: tuple[Path, ...]) -> tuple[dict[str, Instance], list[Path]]:
    """Instances by name (the earlier folder wins), and the folders that we may not look into."""
    running: dict[str, Instance] = {}
    closed = []
    # systemd makes a folder of its own for each service, below the one of all.
    for folder in [place for base in folders for place in (base, *_subfolders(base))]:
        try:
            files = sorted(folder.iterdir())
        except PermissionError:
            closed.append(folder)
            continue
        except OSError:
            continue
        for file in files:
            if file.suffix == ".sock" and file.stem not in running and is_alive(file):
                running[file.stem] = Instance(file.stem, file)
    return running, closed


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []


def is_alive(path: Path) -> bool:
    """Whether somebody listens on the socket. One that a dead supervisor left refuses.

    Connecting tells it without touching the lock: a command that holds it for a moment could make a start fail.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_DEADLINE)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # not ours, or too busy to answer: it is there
    return True


def _list(running: dict[str, Instance]) -> str:
    return ", ".join(sorted(running))


def _places(folders: tuple[Path, ...]) -> str:
    return ", ".join(map(str, folders))


def _hint(closed: list[Path]) -> str:
    return f"; {_places(tuple(closed))} may only be read by its owner or root" if closed else ""
