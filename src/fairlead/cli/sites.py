"""What is to be installed or exported: the app here, as a plan that holds for a service and not for this shell."""

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli.planning import facts_of
from fairlead.config.load import Flags, load
from fairlead.config.place import working_folder
from fairlead.plan.names import default_name
from fairlead.plan.resolve import resolve
from fairlead.targets.model import Site

if TYPE_CHECKING:
    from fairlead.config.load import Loaded

UNREAD_LOCKS = ("poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
"""What pins dependencies, too, and no Dockerfile of ours can take."""
_TAKES_IN = re.compile(r"\s*(?:-r|-c|--requirement|--constraint)(?:\s+|=|(?<=-[rc]))([^\s#]+)")


def find_site(name: str | None, config: str | None, user: str | None = None, *, personal: bool = False) -> Site:
    """The app of the configuration here. The plan's notes say what of this shell a service will not see."""
    cwd = working_folder()
    flags: Flags = {"--name": (("app", "name"), name), "--user": (("app", "user"), user)}
    ours = sorted(
        key for key in os.environ if (key.startswith("FAIRLEAD_") and key != "FAIRLEAD_CONFIG") or key == "PORT"
    )
    notes = tuple(
        f"{key} of this shell is not used: the service starts without it; put it into the file" for key in ours
    )
    loaded = load(cwd, {}, flags, config or os.environ.get("FAIRLEAD_CONFIG"))
    app, startup = loaded.settings.app, loaded.settings.startup
    runtime = Path("/run/fairlead") / (app.name or default_name(loaded.folder))
    # No user id of root, nobody to become: the service is somebody else than whoever installs it.
    facts = facts_of(loaded, cwd, runtime, uid=-1, identity=None, command=())
    plan = resolve(loaded.settings, facts, (*notes, *loaded.notes))
    lock = find_lock(cwd)
    return Site(
        plan=plan,
        program=(*_fairlead(), "run", *_arguments(loaded, name, user, config)),
        reads=_reads(cwd, loaded, plan.app.dir),
        writes=tuple(startup.writable),
        user=app.user,
        group=app.group,
        personal=personal,
        listed=bool(loaded.settings.http.bind),
        takes_port=loaded.origins["http", "port"] == "default",
        memory=None if loaded.settings.memory.budget.endswith("%") else plan.memory.budget or None,
        environment_file=startup.environment_file,
        credentials=tuple(startup.credentials.items()),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        lock=lock,
        lock_parts=tuple(_taken_in(cwd, lock)) if lock == "requirements.txt" else (),
        config=_shown(loaded, cwd) if config else None,
    )


def find_lock(cwd: Path) -> str | None:
    """The file that says best what the app depends on; None when none does."""
    project = (cwd / "pyproject.toml").is_file()
    if project and (cwd / "uv.lock").is_file():
        return "uv.lock"
    if (cwd / "requirements.txt").is_file():
        return "requirements.txt"
    return "pyproject.toml" if project and _lists_dependencies(cwd / "pyproject.toml") else None


def _lists_dependencies(path: Path) -> bool:
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):
        return False  # read again as the configuration, which tells what is wrong
    return isinstance(project, dict) and isinstance(project.get("dependencies"), list)


def _taken_in(cwd: Path, name: str, known: tuple[str, ...] = ()) -> list[str]:
    """The files that a requirements file takes in by -r and -c, and those that they do; only what lies in the folder."""
    parts: list[str] = []
    try:
        lines = (cwd / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return parts  # pip says so
    for match in filter(None, map(_TAKES_IN.match, lines)):
        part = os.path.normpath(Path(name).parent / match[1])
        if part not in (*known, *parts, name) and not part.startswith(("/", "..")) and "://" not in match[1]:
            parts += [part, *_taken_in(cwd, part, (*known, *parts, name, part))]
    return list(dict.fromkeys(parts))


def _fairlead() -> tuple[str, ...]:
    """How the program is started that runs now: by its script where there is one beside its Python."""
    script = Path(sys.executable).parent / "fairlead"
    return (str(script),) if script.is_file() else (sys.executable, "-P", "-m", "fairlead.cli.main")


def _arguments(loaded: "Loaded", name: str | None, user: str | None, config: str | None) -> list[str]:
    """What the service must be told again, because it is in no file."""
    arguments = ["--config", str(loaded.file.path)] if config and loaded.file else []
    arguments += ["--name", name] if name else []
    return arguments + (["--user", user] if user else [])


def _reads(cwd: Path, loaded: "Loaded", app: str) -> tuple[str, ...]:
    folders = [
        cwd,
        loaded.folder,
        Path(app),
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(sys.executable).resolve().parent,
    ]
    return tuple(dict.fromkeys(str(folder) for folder in folders))


def _shown(loaded: "Loaded", cwd: Path) -> str | None:
    if loaded.file is None:
        return None
    path = loaded.file.path
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
