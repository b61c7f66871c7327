"""Where instances and their state are found, and what one is called that was not given a name. Pure, standard library only."""

import re
from collections.abc import Mapping
from pathlib import Path

SYSTEM_STATE = Path("/var/lib/fairlead")
"""The state folder of what root runs."""


def runtime_dirs(environ: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Where sockets and locks are. The first is where `run` puts them; commands look into the others too.

    The others matter because a command may be typed in another environment than the service has: without
    XDG_RUNTIME_DIR (cron), or as the service's user without systemd's RUNTIME_DIRECTORY.
    """
    if named := environ.get("FAIRLEAD_RUNTIME_DIR"):
        return (Path(named).absolute(),)
    system = Path("/run/fairlead")
    service = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    xdg = environ.get("XDG_RUNTIME_DIR")
    own = [Path(xdg) / "fairlead"] if xdg else []
    own.append(Path(f"/tmp/fairlead-{uid}"))  # noqa: S108 - made with 0700, and its owner is checked before use
    if service:
        return tuple(dict.fromkeys((Path(service), system, *own)))
    return (system,) if uid == 0 else (*own, system)


def state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Where what must outlive the service is kept: certificates, and which steps ran."""
    if named := environ.get("FAIRLEAD_STATE_DIR"):
        return Path(named).absolute()
    if service := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(service)
    if uid == 0:
        return SYSTEM_STATE
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or f'/tmp/fairlead-{uid}'}/.local/state"  # noqa: S108
    return Path(home) / "fairlead"


def default_name(folder: Path) -> str:
    """A folder's name as an instance's name: what cannot be in one becomes a dash; `app` when nothing is left."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name)
    return text.lstrip("._-")[:64].rstrip("-") or "app"
