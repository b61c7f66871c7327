"""The plan of the last start, for the next: `fairlead run` need not resolve again what would come out the same.

A plan is a pure function of the command line, the variables and files that the configuration is read from, the place of
the app and the host's facts. All of these are kept beside it and looked at again; where one of them differs, or the
keeping went wrong in any way, the configuration is resolved as if nothing had been kept. Imports little, because this
runs before everything else.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairlead import __version__
from fairlead.app.discovery import find_app
from fairlead.config.place import working_folder
from fairlead.errors import FairleadError
from fairlead.host.cpus import usable_cpus
from fairlead.host.identity import account_to_become
from fairlead.host.memory import oom_files, usable_memory
from fairlead.host.sockets import has_ipv6
from fairlead.plan.names import runtime_dirs, state_dir

try:
    from _blake2 import blake2b  # hashlib would load OpenSSL for it
except ImportError:
    from hashlib import blake2b

if TYPE_CHECKING:
    from fairlead.plan.model import Plan

FOLDER = "plans"
_MOST_KEPT = 16
"""Command lines and folders whose plans are kept; the oldest go first."""


class Asked(NamedTuple):
    """What the configuration asks of the host, and the configuration file that was named."""

    config: str | None
    target: str | None
    factory: bool
    base: str
    dir: str | None
    user: str | None
    group: str | None


def recall(arguments: tuple[str, ...]) -> str | None:
    """The plan that this command line has here and now, as JSON, if it was kept; None means: resolve it."""
    try:
        kept = json.loads(_read(_place(arguments, working_folder(), os.environ)))
        asked = Asked(*kept["asked"])
        if kept["sum"] != _digest(kept["plan"]) or kept["circumstances"] != _circumstances(arguments, asked):
            return None
        return str(kept["plan"])
    except (OSError, ValueError, TypeError, KeyError, FairleadError):
        return None


def keep(arguments: tuple[str, ...], asked: Asked, before: Mapping[str, str], plan: "Plan") -> None:
    """Keeps a plan that was just made; `before` is what `sources` said before the configuration was read.

    A plan with secrets in it is not kept, and none is where nothing can be written: it only takes longer next time.
    """
    if any(issuer.eab_hmac_key for issuer in plan.https.issuers) or plan.https.dns.key_secret:
        return
    from fairlead.host.files import prepare_state_dir, write_atomically

    text = plan.to_json()
    try:
        cwd = working_folder()
        if sources(cwd, asked.config) != before:
            return  # they are being changed right now
        kept = {"asked": asked, "circumstances": _circumstances(arguments, asked), "plan": text}
        place = _place(arguments, cwd, os.environ)
        prepare_state_dir(str(place.parent.parent))
        place.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(str(place), json.dumps(kept | {"sum": _digest(text)}).encode())
        for old in sorted(place.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)[:-_MOST_KEPT]:
            old.unlink()
    except (OSError, FairleadError):
        return


def sources(cwd: Path, config: str | None) -> dict[str, str]:
    """What each file says in which a configuration may be, as a digest; nothing for one that is not there."""
    named = config if config is not None else os.environ.get("FAIRLEAD_CONFIG")
    files = [cwd / named] if named else [cwd / "fairlead.toml", cwd / "pyproject.toml"]
    return {str(file): _digest(file.read_bytes()) if file.is_file() else "" for file in files}


def _circumstances(arguments: tuple[str, ...], asked: Asked) -> dict[str, Any]:
    """All that a plan depends on, as JSON gives it back."""
    cwd, uid = working_folder(), os.geteuid()
    app = find_app(asked.target, asked.factory, Path(asked.base), Path(asked.dir) if asked.dir else None)
    account = account_to_become(asked.user, asked.group)
    variables = sorted(item for item in os.environ.items() if item[0].startswith("FAIRLEAD_") or item[0] == "PORT")
    return {
        "fairlead": [__version__, _age_of_the_code()],
        "python": [sys.executable, sys.version],
        "arguments": list(arguments),
        "variables": _digest(json.dumps(variables)),
        "cwd": str(cwd),
        "sources": sources(cwd, asked.config),
        "app": [app.module, app.attribute, str(app.folder), str(app.file), app.note],
        "account": json.loads(json.dumps(account)),
        "uid": uid,
        "runtime_dir": str(runtime_dirs(os.environ, uid)[0]),
        "state_dir": str(state_dir(os.environ, uid)),
        "cpus": usable_cpus(),
        "memory": usable_memory(),
        "oom_files": list(oom_files()),
        "ipv6": has_ipv6(),
    }


def _age_of_the_code() -> int:
    """When Fairlead's own code was changed last: the same version is not the same code while it is worked on."""
    root = str(Path(__file__).parent.parent)
    folders = [root, *(entry.path for entry in os.scandir(root) if entry.is_dir())]
    return max(entry.stat().st_mtime_ns for folder in folders for entry in os.scandir(folder) if entry.is_file())


def _place(arguments: tuple[str, ...], cwd: Path, environ: Mapping[str, str]) -> Path:
    """The file of this command line in this folder."""
    name = _digest(json.dumps([str(cwd), *arguments]))[:32]
    return state_dir(environ, os.geteuid()) / FOLDER / f"{name}.json"


def _read(place: Path) -> str:
    """The text of a file that nobody but this user can have written. OSError when there is none."""
    with open(place, encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(f"{place} may be written by others")
        return file.read()


def _digest(data: str | bytes) -> str:
    return blake2b(data.encode() if isinstance(data, str) else data, digest_size=32).hexdigest()
