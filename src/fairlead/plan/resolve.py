"""Settings + facts of the host → Plan. Everything that crosses concepts is decided here; nothing is looked up."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fairlead.app.discovery import FoundApp
from fairlead.config.settings import Settings
from fairlead.config_base import Table
from fairlead.http.settings import HttpSettings
from fairlead.https.model import HttpsPlan
from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import MemoryPolicy, parse_budget
from fairlead.plan.listening import binds_of, check_socket_path
from fairlead.plan.model import AppPlan, HttpPlan, Identity, LogPlan, Plan
from fairlead.plan.names import default_name
from fairlead.replication.policy import ReplicationPolicy, auto_workers
from fairlead.replication.settings import ScaleSettings
from fairlead.restarts.policy import RestartPolicy
from fairlead.startup.policy import StartupPolicy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host says. `folder`: the configuration's, which names the instance; `identity`: whom to become;
    `state_dir`: where what must outlive the service is kept; `ipv6`: whether there is such a network."""

    app: FoundApp
    cwd: Path
    folder: Path
    runtime_dir: Path
    cpus: float
    memory: int
    """Bytes that may be used; 0: not known."""
    oom_files: tuple[str, ...]
    uid: int
    identity: Identity | None
    state_dir: Path
    ipv6: bool
    command: tuple[str, ...]


def resolve(settings: Settings, facts: Facts, notes: tuple[str, ...] = ()) -> Plan:
    """The plan of valid settings on this host. InputError when they cannot work here."""
    name = settings.app.name or default_name(facts.folder)
    check_socket_path(f"{facts.runtime_dir}/{name}.sock", "the control socket")
    return Plan(
        name=name,
        app=_app(settings, facts.app),
        binds=binds_of(settings.http, settings.https, facts.ipv6),
        runtime_dir=str(facts.runtime_dir),
        command=facts.command,
        cwd=str(facts.cwd),
        http=_http(settings.http),
        startup=_policy(StartupPolicy, settings.startup),
        restarts=_restarts(settings),
        replication=_replication(settings, facts),
        memory=_memory(settings, facts),
        log=_log(settings),
        https=_https(settings, facts),
        steps=tuple(step.plan() for step in settings.steps),
        companions=tuple(companion.plan() for companion in settings.companions),
        state_dir=str(facts.state_dir),
        oom_files=facts.oom_files,
        identity=facts.identity,
        notes=(facts.app.note, *_notes(settings, facts), *notes),
    )


def _app(settings: Settings, found: FoundApp) -> AppPlan:
    file = str(found.file) if found.file else None
    return AppPlan(found.module, found.attribute, settings.app.factory, str(found.folder), file)


def _http(http: HttpSettings) -> HttpPlan:
    return dataclasses.replace(_policy(HttpPlan, http), headers=tuple(http.headers.items()))


def _https(settings: Settings, facts: Facts) -> HttpsPlan:
    if settings.https.resolved_mode == "off":
        return HttpsPlan()
    return settings.https.plan(store_folder(facts.state_dir, facts.identity.user if facts.identity else None))


def store_folder(state_dir: Path, user: str | None) -> str:
    """Where the certificate store is when the settings do not say. It belongs to whoever the workers run as (`user`,
    when that is not who starts the service), so another user is another store."""
    return str(state_dir / (f"https-{user}" if user else "https"))


def _restarts(settings: Settings) -> RestartPolicy:
    grace = settings.restarts.idle_grace
    grace = settings.http.keep_alive_timeout if grace is None else grace
    return dataclasses.replace(_policy(RestartPolicy, settings.restarts), idle_grace=grace)


def _replication(settings: Settings, facts: Facts) -> ReplicationPolicy:
    workers = settings.replication.workers
    if not isinstance(workers, ScaleSettings):
        return ReplicationPolicy(auto_workers(facts.cpus) if workers == "auto" else workers)
    most = max(workers.min, auto_workers(facts.cpus)) if workers.max == "auto" else workers.max
    return ReplicationPolicy(workers.min, most, int(workers.target.rstrip("%")) / 100, workers.calm)


def _memory(settings: Settings, facts: Facts) -> MemoryPolicy:
    memory = settings.memory
    return MemoryPolicy(memory.preload, parse_budget(memory.budget, facts.memory), memory.worker_limit, memory.gc)


def _log(settings: Settings) -> LogPlan:
    log = _policy(LogPlan, settings.log)
    return dataclasses.replace(log, format="text") if log.format == "auto" else log


def _policy(kind: type[P], table: Table) -> P:
    """A plan's part that has the settings' own names."""
    return kind(**{spec.name: getattr(table, spec.name) for spec in dataclasses.fields(kind)})


def _notes(settings: Settings, facts: Facts) -> list[str]:
    notes = []
    if settings.https.resolved_mode == "off":
        notes.append("serves plain HTTP: https.domains is not set")
    if settings.replication.workers == "auto":
        notes.append(f"replication.workers is auto: {auto_workers(facts.cpus)}, for {facts.cpus:g} usable CPUs")
    if facts.uid == 0 and settings.app.user is None:
        notes.append("started as root, and app.user is not set: the app runs as root")
    return notes
