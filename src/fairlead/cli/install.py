"""`fairlead install` and `fairlead uninstall`: the app as a systemd service."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.errors import FairleadError, InputError

if TYPE_CHECKING:
    from fairlead.cli.systemctl import Systemd
    from fairlead.targets.model import File, Site

_Config = Annotated[str | None, typer.Option(metavar="FILE", help="The configuration file.", show_default=False)]
_Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="The service's name. Default: the instance's.", show_default=False)
]
_Personal = Annotated[
    bool, typer.Option("--user-unit", help="For this user's own service manager, without root.", show_default=False)
]


def install(
    name: _Name = None,
    config: _Config = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Whom it runs as. Default: app.user, or a user of its own (DynamicUser).",
            show_default=False,
        ),
    ] = None,
    user_unit: _Personal = False,
    now: Annotated[bool, typer.Option("--now", help="Start it, too; restart it when its files changed.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Show the files and do nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed by hand, too.")] = False,
) -> None:
    """Have systemd start the app with the machine. Can be repeated; nothing is written unless all of it can work."""
    from fairlead.cli.installable import check_all
    from fairlead.cli.sites import find_site
    from fairlead.cli.systemctl import find_systemd
    from fairlead.targets.systemd import render

    if user_unit and user is not None:
        raise InputError("cannot install with --user and --user-unit: a user's own services run as that user")
    site = find_site(name, config, user, personal=user_unit)
    files = render(site)
    if print_only:
        for file in files:
            typer.echo(f"# {file.path}\n{file.text}")
        return
    manager = find_systemd(personal=user_unit)
    for note in site.plan.notes:
        typer.echo(f"note: {note}", err=True)
    check_all(manager, site, files, force=force, now=now)
    manager.verify(files)
    typer.echo(f"verified: {', '.join(file.path for file in files)}")
    changed = put_in_place(manager, site, files, force)
    settle(manager, site, changed, now)
    if user_unit:
        tell_about_linger()


def uninstall(name: _Name = None, config: _Config = None, user_unit: _Personal = False) -> None:
    """Stop the service and take its units away. Its state stays, and where that is is said."""
    from fairlead.cli.installable import check_home
    from fairlead.cli.instances import configured_name
    from fairlead.cli.systemctl import find_systemd
    from fairlead.config.place import working_folder
    from fairlead.plan.names import default_name
    from fairlead.targets.model import is_ours

    manager = find_systemd(personal=user_unit)
    cwd = working_folder()
    chosen = name or configured_name(cwd, os.environ, config) or default_name(cwd)
    if name is None:
        check_home(manager, chosen, cwd)
    units = [f"{chosen}.socket", f"{chosen}.service"]  # the socket first, or it would start the service again
    there = [unit for unit in units if (manager.folder / unit).exists()]
    for unit in there:
        if not is_ours((manager.folder / unit).read_text(encoding="utf-8", errors="replace")):
            raise FairleadError(f"cannot uninstall {unit}: {manager.folder / unit} was not made by Fairlead")
    if not there:
        typer.echo(f"nothing to do: {chosen}.service is not in {manager.folder}")
        return
    manager.order("disable", "--now", *there, timeout=300.0)
    typer.echo(f"stopped and disabled: {', '.join(there)}")
    for unit in there:
        (manager.folder / unit).unlink()
        typer.echo(f"removed: {manager.folder / unit}")
    manager.order("daemon-reload")
    manager.systemctl("reset-failed", *there)
    for folder in (
        *(manager.folder / f"{unit}.d" for unit in units),
        *(manager.states / chosen, Path("/var/log") / chosen),
    ):
        if folder.exists():
            typer.echo(f"left in place: {folder.resolve()}")


def put_in_place(manager: "Systemd", site: "Site", files: list["File"], force: bool) -> set[str]:
    """Writes the files, and takes away a socket unit that is no longer needed; returns what changed."""
    from fairlead.cli.writing import Found, refuse_changed, write_all
    from fairlead.targets.model import is_ours

    refuse_changed(manager.folder, files, force)
    changed = set()
    for name, found in write_all(manager.folder, files).items():
        typer.echo(f"{'unchanged' if found is Found.SAME else 'written'}: {manager.folder / name}")
        if found is not Found.SAME:
            changed.add(name)
    socket = manager.folder / f"{site.plan.name}.socket"
    if len(files) == 1 and socket.exists() and is_ours(socket.read_text(encoding="utf-8", errors="replace")):
        manager.order("disable", "--now", socket.name)
        socket.unlink()
        typer.echo(f"removed: {socket}")
        changed.add(socket.name)
    manager.order("daemon-reload")
    manager.order("enable", *(file.path for file in files))
    typer.echo(f"enabled: {', '.join(file.path for file in files)}")
    return changed


def settle(manager: "Systemd", site: "Site", changed: set[str], now: bool) -> None:
    """Starts or restarts the service when that was asked for; else says what is left to do."""
    from fairlead.steps.policy import deadline
    from fairlead.targets.model import stop_seconds

    service, socket = f"{site.plan.name}.service", f"{site.plan.name}.socket"
    state = manager.shown(service, "ActiveState")
    runs = state in ("active", "reloading", "activating")
    startup, steps = site.plan.startup, deadline(site.plan.steps) if site.plan.steps else 0.0
    patience = startup.import_timeout + startup.ready_timeout + steps + stop_seconds(site.plan) + 60.0
    if runs and not changed and not (now and state == "activating"):
        typer.echo(f"{'is starting' if state == 'activating' else 'runs already'}: {service}")
    elif runs and not now:
        typer.echo(f"runs as before: {service}; `fairlead install --now` restarts it with the new files")
    elif not now:
        typer.echo(f"starts with the machine: {service}; `systemctl start {site.plan.name}` starts it now")
    else:
        if runs and socket in changed:
            manager.order("stop", socket, service, timeout=patience)
        # Who is starting already is waited for, or tried at once where it waits for its next turn.
        started = manager.systemctl("restart" if changed or not runs else "start", service, timeout=patience)
        if started.returncode != 0:
            raise FairleadError(f"cannot start {service}: {_cause(manager, service)}; systemd goes on trying")
        typer.echo(
            f"{'restarted' if runs and changed else 'started'}: {service}: {manager.shown(service, 'StatusText')}"
        )


def _cause(manager: "Systemd", service: str) -> str:
    """Why its sockets could not be opened, or what the service said last."""
    socket = service.removesuffix(".service") + ".socket"
    unit = socket if manager.shown(socket, "ActiveState") == "failed" else service
    said = manager.shown(service, "StatusText") if unit == service else ""
    log = f"journalctl {'--user ' if manager.personal else ''}-u {unit}"
    return f"{said or manager.last_error(unit) or f'{unit}: ' + manager.shown(unit, 'Result')} ({log})"


def tell_about_linger() -> None:
    """A user's services end with the last session, unless the user lingers."""
    from fairlead.cli.systemctl import lingers

    if not lingers():
        typer.echo(
            "note: it runs only while you are logged in; `loginctl enable-linger` (with sudo where that is refused) "
            "starts it with the machine",
            err=True,
        )
