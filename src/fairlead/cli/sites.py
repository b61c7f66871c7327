"""What is to be installed or exported: the app here, as a plan that holds for a service and not for this shell."""

import os
import sys
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

_LOCKS = ("uv.lock", "requirements.txt", "pyproject.toml")


def find_site(name: str | None, config: str | None, user: str | None = None, *, personal: bool = False) -> Site:
    """The app of the configuration here. The plan's notes say what of this shell a service will not see."""
    cwd = working_folder()
    flags: Flags = {"--name": (("app", "name"), name), "--user": (("app", "user"), user)}
    ours = sorted(key for key in os.environ if key.startswith("FAIRLEAD_") and key != "FAIRLEAD_CONFIG")
    notes = tuple(
        f"{key} of this shell is not used: the service starts without it; put it into the file" for key in ours
    )
    loaded = load(cwd, {}, flags, config or os.environ.get("FAIRLEAD_CONFIG"))
    app, startup = loaded.settings.app, loaded.settings.startup
    runtime = Path("/run/fairlead") / (app.name or default_name(loaded.folder))
    # No user id of root, nobody to become: the service is somebody else than whoever installs it.
    facts = facts_of(loaded, cwd, runtime, uid=-1, identity=None, command=())
    plan = resolve(loaded.settings, facts, (*notes, *loaded.notes))
    lock = next((file for file in _LOCKS if (cwd / file).is_file()), None)
    return Site(
        plan=plan,
        program=(*_fairlead(), "run", *_arguments(loaded, name, user, config)),
        reads=_reads(cwd, loaded, plan.app.dir),
        writes=tuple(startup.writable),
        user=app.user,
        group=app.group,
        personal=personal,
        listed=bool(loaded.settings.http.bind),
        memory=None if loaded.settings.memory.budget.endswith("%") else plan.memory.budget or None,
        environment_file=startup.environment_file,
        credentials=tuple(startup.credentials.items()),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        lock=lock,
        config=_shown(loaded, cwd) if config else None,
    )


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
