"""What the supervisor knows: plain data, no operating system.

Times are seconds of a monotonic clock that the caller brings with each event.
"""

from dataclasses import field
from enum import StrEnum

from fairlead.companions.policy import Companion
from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import Usage
from fairlead.plan.model import Plan
from fairlead.supervisor.events import Exited


class WorkerState(StrEnum):
    """A worker's life."""

    FORKING = "forking"
    """Asked of the template, or being spawned; no pid is known."""
    STARTING = "starting"
    READY = "ready"
    """Lifespan and probe are through; waits for the order to serve."""
    SERVING = "serving"
    DRAINING = "draining"
    KILLING = "killing"
    """Found hung, overdue or not wanted: its stacks are written, then SIGKILL."""


TRANSITIONS: dict[tuple[WorkerState, str], WorkerState] = {
    (WorkerState.FORKING, "born"): WorkerState.STARTING,
    (WorkerState.FORKING, "kill"): WorkerState.KILLING,
    (WorkerState.STARTING, "ready"): WorkerState.READY,
    (WorkerState.STARTING, "kill"): WorkerState.KILLING,
    (WorkerState.READY, "serve"): WorkerState.SERVING,
    (WorkerState.READY, "kill"): WorkerState.KILLING,
    (WorkerState.SERVING, "drain"): WorkerState.DRAINING,
    (WorkerState.SERVING, "kill"): WorkerState.KILLING,
    (WorkerState.DRAINING, "kill"): WorkerState.KILLING,
    (WorkerState.KILLING, "born"): WorkerState.KILLING,
    (WorkerState.KILLING, "ready"): WorkerState.KILLING,
    (WorkerState.KILLING, "kill"): WorkerState.KILLING,
}
"""(state, what happens) → state; a pair that is not listed is a mistake of ours and raises KeyError."""


@dataclass(slots=True)
class Worker:
    """One worker. `deaths`: how many in a row its seat has seen before it. `deadline`: when its present state is overdue."""

    id: int
    slot: int
    release: int
    born: float
    deadline: float | None
    deaths: int = 0
    template: int | None = None
    """The template that was asked to fork it; None: started from the disk."""
    state: WorkerState = WorkerState.FORKING
    pid: int | None = None
    serving_since: float | None = None
    max_age_at: float | None = None
    recycle: str | None = None
    """Why it is to be replaced, once it is; it serves until its successor does."""
    successors: int = 1
    """How many others have to serve before it may leave, once it is to be replaced."""
    retiring: bool = False
    """Its successor is on the way: it no longer counts as one of the release's workers."""
    heartbeat: int = 0
    silent: float = 0.0
    """Seconds without a new heartbeat, as far as the supervisor itself was running to see it."""
    failure: str | None = None
    failure_traceback: str = ""
    end: str | None = None
    """Why it was told to leave or is being killed; None: it leaves on its own."""
    blamed: bool = False
    """It is being killed for something it did, so its end is a death."""
    accept_queue_taken: bool = False
    early: list[str] = field(default_factory=list)
    """What it said, encoded, before its template said that it is born: they speak on channels of their own."""

    def move(self, what: str) -> None:
        """Takes the transition `what`; KeyError when the state does not know it."""
        self.state = TRANSITIONS[self.state, what]

    @property
    def counts(self) -> bool:
        """Whether it fills one of the release's seats."""
        return not self.retiring and self.state not in (WorkerState.DRAINING, WorkerState.KILLING)


@dataclass(slots=True)
class Template:
    """A template or a spare. `ready`: the app is imported (a spare is ready once it is forked)."""

    id: int
    release: int
    deadline: float | None
    pid: int | None = None
    ready: bool = False
    spare: bool = False
    killed: str | None = None
    failure: str | None = None
    failure_traceback: str = ""


@dataclass(slots=True)
class Vacancy:
    """A seat whose worker died: from `at` on it may be filled again."""

    at: float
    deaths: int


@dataclass(slots=True)
class Release:
    """One loaded version of code and configuration."""

    number: int
    plan: Plan
    started: float
    fresh: bool = False
    """Its workers are started from the disk: preload is off, or forking proved unsafe."""
    template: Template | None = None
    spare: Template | None = None
    vacancies: list[Vacancy] = field(default_factory=list)
    ever_ready: bool = False
    parked_until: float | None = None
    template_at: float = 0.0
    """Before this time no lost template is started again."""
    template_deaths: int = 0
    companions_due: dict[tuple[str, int], Vacancy] = field(default_factory=dict)
    companions_ended: set[tuple[str, int]] = field(default_factory=set)
    """Seats of companions that have ended and are not to be started again."""
    companions_failed: dict[tuple[str, int], str] = field(default_factory=dict)
    """How those of them ended that did not end well."""
    code: str = ""
    """What was imported for it last, as `Imported.code`; empty: nothing yet."""


@dataclass(slots=True)
class Operation:
    """A change of releases under way: start, reload or rollback."""

    kind: str
    client: int | None
    begun: float
    target: int
    """How many workers the coming release is to have."""
    release: int | None = None
    """The release that comes; None while the configuration is read."""
    told: float = 0.0
    """When the client last heard how it is going."""
    steps: int | None = None
    """The process that runs the previous steps, once it was started."""
    batch: int = 0
    """Workers replaced at a time; 0: as many as the configuration says."""
    failed: int = 0
    """Workers that died before any became ready (a first start waits for all of them before it gives up)."""


@dataclass(slots=True)
class StepsRun:
    """The process that runs the previous steps of the release that comes."""

    id: int
    plan: Plan
    deadline: float
    pid: int | None = None
    at: str = "looking which previous steps are due"
    done: bool = False
    failure: str | None = None
    last_lines: str = ""
    stopping: bool = False


@dataclass(slots=True)
class CompanionRun:
    """One process of a companion. `deaths`: how many in a row its seat has seen before it."""

    id: int
    release: int
    policy: Companion
    replica: int
    born: float
    deaths: int = 0
    pid: int | None = None
    template: int | None = None
    """The template that was asked to fork it; None: started from the disk."""
    deadline: float | None = None
    end: str | None = None
    """Why it was asked to end."""
    failure: str | None = None
    traceback: str = ""
    began: float | None = None
    """When it became its program, or called its function: a busy machine takes its while until then."""

    @property
    def name(self) -> str:
        """The companion's, as configured."""
        return self.policy.name

    @property
    def seat(self) -> tuple[str, int]:
        """Which of its companion's replicas it is."""
        return self.policy.name, self.replica

    @property
    def label(self) -> str:
        """For messages: the replica is named where there are several."""
        return f"{self.name}/{self.replica}" if self.policy.replicas > 1 else self.name

    @property
    def settled_at(self) -> float | None:
        """When it counts as started; None: it has not begun yet."""
        return None if self.began is None else self.began + self.policy.settle_time


@dataclass(slots=True)
class Switch:
    """A release that serves since a moment ago. It is announced once the workers before it accept nothing more."""

    kind: str
    client: int | None
    begun: float
    release: int
    workers: int
    old: int | None
    until: float
    """When it is announced at the latest: a worker that hangs does not answer."""


@dataclass(slots=True)
class Restart:
    """A worker or companion that was replaced, for status. `at`: wall-clock seconds are added by the caller that shows it."""

    at: float
    worker: int
    release: int
    reason: str
    companion: str = ""
    """Its label, when it was one and no worker."""


@dataclass(slots=True)
class Memory:
    """The last readings. `rate`: bytes a second by which the whole grows. `told`: the last shortage that was logged."""

    usage: Usage = field(default_factory=lambda: Usage({}, 0))
    templates: dict[int, int] = field(default_factory=dict)
    at: float | None = None
    rate: float = 0.0
    told: str = ""


@dataclass(slots=True)
class Scaling:
    """How busy the workers were. `hot_since`, `calm_since`: since when above and below the band, without a break."""

    busy: float = 0.0
    queued: int = 0
    at: float | None = None
    hot_since: float | None = None
    calm_since: float | None = None
    changed_at: float = 0.0


@dataclass(slots=True)
class State:
    """All the supervisor knows. Changed by the machine alone."""

    target: int
    """How many workers are wanted."""
    releases: dict[int, Release] = field(default_factory=dict)
    workers: dict[int, Worker] = field(default_factory=dict)
    templates: dict[int, Template] = field(default_factory=dict)
    """Templates and spares by their process number, dying ones included."""
    step_runs: dict[int, StepsRun] = field(default_factory=dict)
    """By process number, those included that are on their way out."""
    companions: dict[int, CompanionRun] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    scaling: Scaling = field(default_factory=Scaling)
    serving: int | None = None
    operation: Operation | None = None
    switch: Switch | None = None
    stopping: str | None = None
    """Why the service stops, once it does."""
    exit_code: int | None = None
    upgrading: bool = False
    """Whether a successor is being tried."""
    accept_closed: bool = False
    next_id: int = 1
    next_release: int = 1
    last_tick: float | None = None
    restarts: list[Restart] = field(default_factory=list)
    restarts_total: int = 0
    last_failure: str | None = None
    early_exits: dict[int, Exited] = field(default_factory=dict)
    """Children that were reaped before the message that tells who they were."""

    def take_id(self) -> int:
        """The next process number."""
        self.next_id += 1
        return self.next_id - 1

    def process_of(self, pid: int) -> int | None:
        """The number of the process of ours that has this pid."""
        ours = [(worker.pid, worker.id) for worker in self.workers.values()]
        ours += [(template.pid, template.id) for template in self.templates.values()]
        ours += [(run.pid, run.id) for run in self.step_runs.values()]
        ours += [(run.pid, run.id) for run in self.companions.values()]
        return dict(ours).get(pid)

    @property
    def changing(self) -> bool:
        """Whether a release is being loaded: what replaces single workers waits for it. Previous steps may take an hour."""
        return self.operation is not None and self.operation.release is not None

    def workers_of(self, release: int) -> list[Worker]:
        """The release's workers, oldest first."""
        return [worker for worker in self.workers.values() if worker.release == release]
