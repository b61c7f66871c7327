"""What must hold before `fairlead install` writes anything: names, users, folders and ports that nobody else has."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli.control_client import ControlClient
from fairlead.cli.instances import find_instance
from fairlead.cli.writing import Found, current, look, refuse_changed
from fairlead.errors import FairleadError, InputError
from fairlead.host.access import closed_to, mode_of
from fairlead.host.activation import address_of
from fairlead.host.identity import find_account
from fairlead.host.sockets import listen_tcp
from fairlead.plan.model import Bind
from fairlead.plan.names import SYSTEM_STATE
from fairlead.targets.model import is_ours
from fairlead.targets.systemd import home_line

if TYPE_CHECKING:
    from fairlead.cli.systemctl import Systemd
    from fairlead.targets.model import File, Site

_OUR_STATE = ("plans", "https*", "steps-*")
"""What Fairlead has in a state folder."""
_DYNAMIC = range(61184, 65520)
"""The numbers of the users that systemd makes."""


def check_all(manager: "Systemd", site: "Site", files: list["File"], *, force: bool, now: bool) -> None:
    """FairleadError for the first thing in the way."""
    check_unit_name(manager, site, files, force)
    check_secrets(site)
    if not site.personal:
        check_own_user(site)
        check_access(site)
        check_state_folder(manager, site)
    if now:
        check_places(manager, site)


def check_unit_name(manager: "Systemd", site: "Site", files: list["File"], force: bool) -> None:
    """FairleadError when a unit of that name belongs to something else, or was changed by hand."""
    for file in files:
        ours = manager.folder / file.path
        other = manager.shown(file.path, "FragmentPath")
        if other and Path(other).resolve() != ours.resolve():
            raise FairleadError(f"cannot install {file.path}: {other} has that name; give this one another --name")
        if look(manager.folder, file) is Found.FOREIGN:
            raise FairleadError(
                f"cannot install {file.path}: {ours} was not made by Fairlead; give this one another --name"
            )
    there = current(manager.folder / files[0].path)
    if there is not None and home_line(site.plan.cwd) not in there.splitlines():
        raise FairleadError(
            f"cannot install {files[0].path}: it belongs to the app in another folder; give this one another --name, "
            f"or take that one away first: fairlead uninstall --name {site.plan.name}"
        )
    refuse_changed(manager.folder, files, force)


def check_home(manager: "Systemd", name: str, cwd: Path) -> None:
    """FairleadError when the service that has the folder's name is another folder's."""
    unit = f"{name}.service"
    there = current(manager.folder / unit)
    if there is not None and is_ours(there) and home_line(str(cwd)) not in there.splitlines():
        raise FairleadError(
            f"cannot uninstall {unit}: it belongs to the app in another folder; allowed: --name {name} to take that one away"
        )


def check_access(site: "Site") -> None:
    """InputError when the service's user is not there, or could not even reach the app."""
    account = find_account(site.user, site.group) if site.user is not None else None
    who = f"user {site.user}" if account else "the service's own user"
    for folder in map(Path, (*site.reads, *site.writes)):
        try:
            closed = closed_to(folder, account.uid if account else None, account.groups if account else ())
        except OSError as error:
            raise InputError(f"cannot install: {folder} cannot be used: {error.strerror}") from error
        if closed is not None:
            raise InputError(
                f"cannot install: {who} may not enter {closed} ({mode_of(closed)}), and so cannot read {folder}; "
                "allowed: another place such as /srv, another --user, or a mode that lets it in"
            )


def check_secrets(site: "Site") -> None:
    """InputError when a file is not there that systemd reads for the service: it would not even begin to start."""
    named = [("startup.environment_file", site.environment_file)] if site.environment_file else []
    named += [(f"startup.credentials.{name}", path) for name, path in site.credentials]
    for key, path in named:
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise InputError(f"cannot install: {key} = {path!r} cannot be read: {error.strerror}") from error


def check_own_user(site: "Site") -> None:
    """InputError when systemd would take a user for the service that is not its own: DynamicUser's is named like the unit."""
    name = site.plan.name
    if site.user is not None:
        return
    if _is_static(lambda: pwd.getpwnam(name).pw_uid):
        raise InputError(
            f"cannot install {name}.service with a user of its own: there is a user {name} on this host, and systemd "
            f"would take that one; allowed: another --name{'' if name == 'root' else f', or --user {name} if it is meant'}"
        )
    if _is_static(lambda: grp.getgrnam(name).gr_gid):
        raise InputError(
            f"cannot install {name}.service with a user of its own: there is a group {name} on this host, and systemd "
            "would not make a user beside it; allowed: another --name, or --user"
        )


def check_state_folder(manager: "Systemd", site: "Site") -> None:
    """FairleadError when the state folder is somebody else's: systemd would give it to the service, with all that is in it."""
    name = site.plan.name
    folder = manager.states / name
    if folder == SYSTEM_STATE:
        raise FairleadError(
            f"cannot install {name}.service: {folder} is where Fairlead itself keeps what root runs; "
            "give this one another --name"
        )
    if folder.is_symlink() or not folder.is_dir() or current(manager.folder / f"{name}.service") is not None:
        return  # systemd's own link to the state of a service that had this name, or nothing, or it is there already
    user = find_account(site.user, site.group).uid if site.user is not None else None
    if folder.stat().st_uid == user or any(next(folder.glob(known), None) for known in _OUR_STATE):
        return
    if any(folder.iterdir()):
        raise FairleadError(
            f"cannot install {name}.service: {folder} is not of this service, and systemd would give it to the service's user, "
            "with all that is in it; allowed: another --name, the --user that it belongs to, or take the folder away"
        )


def check_places(manager: "Systemd", site: "Site") -> None:
    """InputError when the service could not listen now: the address is taken, or is none of this host's."""
    ours = _places_held(manager, site.plan.name)
    for bind in site.plan.binds:
        if bind.kind == "tcp" and bind.port and ours is not None and _numbered(bind) not in ours:
            listen_tcp(bind.host, bind.port, backlog=1).close()


def _numbered(bind: Bind) -> str:
    """The address as a socket that listens there shows it."""
    try:
        _kind, host, port = address_of(bind.kind, bind.host, bind.port, bind.path)
    except OSError:
        return str(bind)  # listening tells what is wrong with it
    return str(Bind("tcp", host, port))


def _places_held(manager: "Systemd", name: str) -> set[str] | None:
    """Where the service listens already; None when it runs and does not say."""
    held = set()
    if manager.shown(f"{name}.socket", "ActiveState") == "active":
        held = {line.split()[0] for line in manager.shown(f"{name}.socket", "Listen").splitlines() if line}
    if manager.shown(f"{name}.service", "ActiveState") not in ("active", "reloading", "activating"):
        return held
    try:
        with ControlClient(find_instance(name, None, Path.cwd(), os.environ, os.geteuid())) as client:
            return held | {place.rpartition("://")[2] for place in client.ask("status")["listeners"]}
    except FairleadError:
        return None


def _is_static(number: Callable[[], int]) -> bool:
    """Whether there is such an account, and not only while a service runs that systemd made it for."""
    try:
        return number() not in _DYNAMIC
    except KeyError:
        return False
