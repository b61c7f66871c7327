"""The resolved plan: everything the supervisor and its children need, as plain data that travels as JSON."""

import dataclasses
import json
from dataclasses import field

from fairlead.companions.policy import Companion
from fairlead.errors import FairleadError
from fairlead.https.model import DnsPlan, HttpsPlan
from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import MemoryPolicy
from fairlead.records import dump, load
from fairlead.replication.policy import ReplicationPolicy
from fairlead.restarts.policy import RestartPolicy
from fairlead.startup.policy import StartupPolicy
from fairlead.steps.policy import Step


@dataclass(frozen=True, slots=True)
class AppPlan:
    """What to import. `module` is importable with `dir` first on sys.path; `attribute` None means: find the app in it."""

    module: str
    attribute: str | None = None
    factory: bool = False
    dir: str = "."
    file: str | None = None
    """The file the target was found as, for messages; None when it was named as a module."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A place to listen: kind `tcp` (host, port), `unix` (path, mode) or `fd` (an inherited descriptor).

    `speaks`: http (plain, the app), https (the app over TLS) or redirect (plain: to HTTPS, and ACME challenges).
    """

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = 0o660
    fd: int = -1
    backlog: int = 2048
    speaks: str = "http"

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd:{self.fd}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """How a worker speaks HTTP: what `http.settings.HttpSettings` says, resolved. Durations in seconds, sizes in bytes."""

    protocol: str = "auto"
    loop: str = "auto"
    lifespan: str = "auto"
    keep_alive_timeout: float = 5.0
    header_timeout: float = 10.0
    idle_timeout: float = 60.0
    max_header_size: int = 64 * 1024
    max_headers: int = 100
    max_body_size: int = 100 * 1000 * 1000
    max_connections: int = 10_000
    max_in_flight: int = 1000
    root_path: str = ""
    proxy_headers: bool = True
    forwarded_allow_ips: str = "127.0.0.1,::1"
    headers: tuple[tuple[str, str], ...] = ()
    server_header: bool = False
    date_header: bool = True
    ws_max_size: int = 16 * 1024 * 1024
    ws_max_queue: int = 32
    ws_ping_interval: float = 20.0
    ws_ping_timeout: float = 20.0
    ws_per_message_deflate: bool = True
    h11_max_incomplete_event_size: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogPlan:
    """`format`: text or json. `file`, `access_file`: absolute paths, or None for stderr and stdout."""

    format: str = "text"
    level: str = "info"
    file: str | None = None
    access: bool = True
    access_file: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom everything but the supervisor runs as, when it was started as root."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Plan:
    """One release's resolved configuration."""

    name: str
    app: AppPlan
    binds: tuple[Bind, ...]
    runtime_dir: str
    command: tuple[str, ...] = ()
    """The command line (program first) that plans again at a reload: it is given `--plan-to FD`."""
    cwd: str = "/"
    http: HttpPlan = field(default_factory=HttpPlan)
    startup: StartupPolicy = field(default_factory=StartupPolicy)
    restarts: RestartPolicy = field(default_factory=RestartPolicy)
    replication: ReplicationPolicy = field(default_factory=ReplicationPolicy)
    memory: MemoryPolicy = field(default_factory=MemoryPolicy)
    log: LogPlan = field(default_factory=LogPlan)
    https: HttpsPlan = field(default_factory=HttpsPlan)
    steps: tuple[Step, ...] = ()
    companions: tuple[Companion, ...] = ()
    state_dir: str = ""
    """Where what must outlive a restart is kept."""
    identity: Identity | None = None
    oom_files: tuple[str, ...] = ()
    """Where the kernel counts whom its out-of-memory killer killed."""
    notes: tuple[str, ...] = ()
    """What the person is to be told at the start: what was found, what was ignored, what was fallen back to."""

    def without_secrets(self) -> "Plan":
        """The plan for processes that run the app: what only the certificate agent needs is left out."""
        return dataclasses.replace(self, https=dataclasses.replace(self.https, issuers=(), dns=DnsPlan(), hook=()))

    def to_json(self) -> str:
        """The plan as one JSON text; `from_json` gives an equal plan."""
        return json.dumps(dump(self))

    @staticmethod
    def from_json(text: str) -> "Plan":
        """The plan of a JSON text written by the same version of Fairlead; FairleadError when it is not one."""
        try:
            plan = load(Plan, json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise FairleadError(f"cannot read the plan: {error}") from error
        assert isinstance(plan, Plan)  # noqa: S101
        return plan
