"""From the command line to the plan: configuration, the app's place and the host's facts, put together."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fairlead.app.discovery import find_app
from fairlead.cli.kept import Asked, keep, sources
from fairlead.config.load import Flags, Loaded, load
from fairlead.config.place import working_folder
from fairlead.host.cpus import usable_cpus
from fairlead.host.identity import account_to_become
from fairlead.host.memory import oom_files, usable_memory
from fairlead.host.sockets import has_ipv6
from fairlead.plan.model import Identity, Plan
from fairlead.plan.names import runtime_dirs, state_dir
from fairlead.plan.resolve import Facts, resolve


def make_plan(flags: Flags, config: str | None, arguments: Sequence[str], *, kept: bool = False) -> Plan:
    """The plan of this command line, here and now. InputError with all that is wrong. `kept`: for the next start, too."""
    cwd = working_folder()
    before = sources(cwd, config)
    loaded = load(cwd, os.environ, flags, config)
    account = account_to_become(loaded.settings.app.user, loaded.settings.app.group)
    identity = Identity(**account._asdict()) if account else None
    uid = os.geteuid()
    runtime = runtime_dirs(os.environ, uid)[0]
    facts = facts_of(loaded, cwd, runtime, uid=uid, identity=identity, command=planning_command(arguments))
    plan = resolve(loaded.settings, facts, loaded.notes)
    if kept:
        app = loaded.settings.app
        base = str(loaded.folders["app", "target"])
        keep(tuple(arguments), Asked(config, app.target, app.factory, base, app.dir, app.user, app.group), before, plan)
    return plan


def facts_of(
    loaded: Loaded, cwd: Path, runtime_dir: Path, *, uid: int, identity: Identity | None, command: tuple[str, ...]
) -> Facts:
    """The facts that `resolve` needs, with the app found and the CPUs counted."""
    app = loaded.settings.app
    # A target counts from where it was written: a flag's from the working folder, a file's from the file's.
    base = loaded.folders["app", "target"]
    return Facts(
        app=find_app(app.target, app.factory, base, Path(app.dir) if app.dir else None),
        cwd=cwd,
        folder=loaded.folder,
        runtime_dir=runtime_dir,
        state_dir=state_dir(os.environ, uid),
        cpus=usable_cpus(),
        memory=usable_memory(),
        oom_files=oom_files(),
        uid=uid,
        identity=identity,
        ipv6=has_ipv6(),
        command=command,
    )


def planning_command(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command line that makes the plan again: the same arguments, without the descriptor of this time."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--plan-to" and not argument.startswith("--plan-to="):
            kept.append(argument)
        skip = argument == "--plan-to"
    return (sys.executable, "-P", "-m", "fairlead.cli.main", *kept)
