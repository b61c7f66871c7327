"""systemd: a service and the socket unit that holds its listening sockets."""

import ipaddress
import re

from fairlead.errors import InputError
from fairlead.plan.model import Bind
from fairlead.targets.model import Care, File, Site, Target, Who, memory_limit, one_line, stop_seconds

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")
_HOMES = ("/home/", "/root/", "/run/user/")
_HIDDEN = ("/tmp/", "/var/tmp/")  # noqa: S108 - a service has temporary folders of its own, so an app there is not found
LOWEST_FREE_PORT = 1024

CARES = {
    "https": Care(Who.FAIRLEAD, "certificates are kept in the service's state folder"),
    "startup": Care(Who.RENDERED, "enabled units, sockets held by systemd, readiness, watchdog"),
    "restarts": Care(Who.FAIRLEAD, "of workers; systemd restarts the supervisor, and connections wait meanwhile"),
    "replication": Care(Who.FAIRLEAD, "workers follow the CPU quota of the unit, if it has one"),
    "memory": Care(Who.FAIRLEAD, "one worker out of memory is replaced; it does not end the service (OOMPolicy)"),
    "steps": Care(Who.FAIRLEAD, "before a release serves; the start timeout is extended meanwhile"),
}
# What works for one user's manager, which has no privileges to make file system views with.
_SECCOMP = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""
# Left out on purpose: MemoryDenyWriteExecute breaks libraries that compile at run time, ProcSubset hides /proc/meminfo.
_SANDBOX = """\
CapabilityBoundingSet=
DevicePolicy=closed
PrivateDevices=yes
PrivateMounts=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
SystemCallFilter=~@privileged @resources
"""


def render(site: Site) -> list[File]:
    """NAME.service, and NAME.socket for every address that systemd can open."""
    for folder in site.reads:
        if f"{folder}/".startswith(_HIDDEN) and not site.personal:
            raise InputError(
                f"cannot run from {folder} under systemd: a service has temporary folders of its own; "
                "put the app and its Python elsewhere, such as under /srv or /opt"
            )
    sockets = [line for bind in site.plan.binds for line in _listen(bind, site)]
    files = [File(f"{site.plan.name}.service", _service(site, bool(sockets)))]
    if sockets:
        files.append(File(f"{site.plan.name}.socket", _socket(site, sockets)))
    return files


def home_line(cwd: str) -> str:
    """The line of a service by which one knows whose it is."""
    return f"WorkingDirectory={_unit_text(cwd)}"


def _listen(bind: Bind, site: Site) -> list[str]:
    """The ListenStream line of an address; none for what only Fairlead itself can open."""
    if bind.kind == "fd":
        raise InputError(
            f"cannot use http.bind {str(bind)!r} under systemd: it hands over the sockets itself; name the address instead"
        )
    if bind.kind == "unix":
        return [f"ListenStream={one_line(bind.path, 'http.bind').replace('%', '%%')}"]
    host = "127.0.0.1" if bind.host == "localhost" else bind.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _check_port(bind, "only an IP address can be opened by systemd")
        return []
    if bind.port == 0:
        return []
    if site.personal:
        _check_port(bind, "a user's services have no right to it; allowed: a port from 1024, or install as root")
    if address.version == 4:
        return [f"ListenStream={address}:{bind.port}"]
    number, _, scope = str(address).partition("%")
    return [f"ListenStream=[{number}]:{bind.port}" + (f"%%{scope}" if scope else "")]


def _check_port(bind: Bind, why: str) -> None:
    if 0 < bind.port < LOWEST_FREE_PORT:
        raise InputError(f"cannot listen on {bind} without root or CAP_NET_BIND_SERVICE: {why}")


def _service(site: Site, has_socket: bool) -> str:
    plan, name = site.plan, site.plan.name
    # Wanted and not required: a place that is taken at boot is then tried again, with the service, until it is free.
    needs = f"Wants={name}.socket\nPartOf={name}.socket\nAfter={name}.socket\n" if has_socket else ""
    stop = stop_seconds(plan)
    wanted_by = "default.target" if site.personal else "multi-user.target"
    reload_command = (*site.program[: site.program.index("run")], "reload", "--name", name)
    return f"""\
[Unit]
Description=Fairlead: {_unit_text(name)}
After=network.target nss-lookup.target
{needs}# No limit: a service whose database comes late is tried until it works.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={_command(site.program)}
ExecReload={_command(reload_command)}
{home_line(plan.cwd)}
Restart=always
RestartSec=1s
TimeoutStartSec=60s
TimeoutStopSec={stop}s
# The supervisor's own loop feeds the watchdog. One that hangs does not end by SIGABRT either.
WatchdogSec=20s
TimeoutAbortSec=5s
# TERM goes to the supervisor alone, which drains its workers.
KillMode=mixed
OOMPolicy=continue
FileDescriptorStoreMax=32
LimitNOFILE=524288
SyslogIdentifier={_unit_text(name)}
{_memory(site)}Environment=PYTHONUNBUFFERED=1
{_environment(site)}{_folders(site)}{_user(site)}{_SECCOMP}{"" if site.personal else _sandbox(site)}
[Install]
WantedBy={wanted_by}
"""


def _memory(site: Site) -> str:
    """The kernel's limit, behind the budget that Fairlead keeps."""
    limit = memory_limit(site)
    return "" if limit is None else f"MemoryMax={limit}\n"


def _environment(site: Site) -> str:
    """Where secrets come from: files that only the service manager reads."""
    lines = [f"EnvironmentFile={_unit_text(site.environment_file)}\n"] if site.environment_file else []
    for name, path in site.credentials:
        lines.append(f"LoadCredential={one_line(name, 'the credential')}:{_unit_text(path)}\n")
    return "".join(lines)


def _folders(site: Site) -> str:
    """State, logs and the runtime folder, made by systemd; /run/fairlead is where `fairlead status` looks."""
    name = site.plan.name
    lines = [f"RuntimeDirectory=fairlead/{name}", f"StateDirectory={name}", "StateDirectoryMode=0700"]
    # An empty LogsDirectory would only puzzle people: most services log to the journal.
    if any(path and path.startswith(f"/var/log/{name}/") for path in (site.plan.log.file, site.plan.log.access_file)):
        lines += [f"LogsDirectory={name}", "LogsDirectoryMode=0750"]
    lines += [f"ReadWritePaths={_listed(folder)}" for folder in site.writes if not site.personal]
    return "\n".join(lines) + "\n"


def _user(site: Site) -> str:
    """Whom it runs as; a user's own services have no choice."""
    if site.personal:
        return ""
    lines = ["DynamicUser=yes" if site.user is None else f"User={one_line(site.user, 'the user')}"]
    if site.group is not None:
        lines.append(f"Group={one_line(site.group, 'the group')}")
    return "\n".join(lines) + "\n"


def _sandbox(site: Site) -> str:
    """What takes root to set up. Homes are hidden, unless the app or its Python is in one."""
    at_home = any(f"{folder}/".startswith(_HOMES) for folder in (*site.reads, *site.writes))
    return f"{_SANDBOX}ProtectHome={'read-only' if at_home else 'yes'}\n"


def _socket(site: Site, listen: list[str]) -> str:
    name = site.plan.name
    unix = [f"SocketMode={bind.mode:04o}" for bind in site.plan.binds if bind.kind == "unix"][:1]
    if unix and not site.personal:
        unix += [f"Socket{key}={value}" for key, value in (("User", site.user), ("Group", site.group)) if value]
    lines = "\n".join([*listen, *unix])
    return f"""\
# systemd holds these sockets: while the service starts or restarts, clients wait and none is refused.
[Unit]
Description=Sockets of Fairlead: {_unit_text(name)}
StartLimitIntervalSec=0

[Socket]
{lines}
BindIPv6Only=ipv6-only
{_free_bind(site)}Backlog={max(bind.backlog for bind in site.plan.binds)}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def _free_bind(site: Site) -> str:
    """Sockets are opened early at boot, when the network of an address by its number may not be up yet."""
    numbers = [bind.host for bind in site.plan.binds if bind.kind == "tcp" and bind.host != "localhost"]
    return "FreeBind=yes\n" if any(_is_of_a_network(number) for number in numbers) else ""


def _is_of_a_network(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _command(words: tuple[str, ...]) -> str:
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    """A word of a command line, quoted as systemd reads it: % and $ mean something there."""
    text = one_line(word, "the argument").replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(text.replace("%", "").replace("$", "")):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _listed(path: str) -> str:
    """A path in an option that takes a list of them."""
    text = _unit_text(path)
    return f'"{text}"' if " " in text else text


def _unit_text(text: str) -> str:
    return one_line(text, "the text").replace("%", "%%")


TARGET = Target(
    "systemd",
    "a service and a socket unit; `fairlead install` puts them in place",
    render,
    CARES,
    "fairlead install does all of this: copy both to /etc/systemd/system, systemctl daemon-reload, "
    "systemctl enable --now NAME.socket NAME.service",
)
