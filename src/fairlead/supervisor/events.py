"""What can happen to the supervisor: plain data. Each is told to `machine.handle`."""

from dataclasses import field

from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import Usage
from fairlead.messages import Message
from fairlead.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The supervisor is set up; `plan` is the first release's."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Load:
    """`busy`: serving worker → the share of its time in which it worked, 0 to 1. `queued`: connections not accepted yet."""

    busy: dict[int, float]
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """Time has passed. `heartbeats`: worker number → the heartbeat in its slot. `templates`: process number → its bytes."""

    heartbeats: dict[int, int]
    usage: Usage | None = None
    templates: dict[int, int] = field(default_factory=dict)
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Said(Event):
    """Process `process` sent a message."""

    process: int
    message: Message


@dataclass(frozen=True, slots=True)
class ChannelOver(Event):
    """Nothing more will come from process `process`: it has become another program, or it has ended."""

    process: int


@dataclass(frozen=True, slots=True)
class Exited(Event):
    """A child was reaped. `how`: "exit code 3" or "signal SIGKILL"; `clean`: exit code 0."""

    pid: int
    how: str
    clean: bool = False


@dataclass(frozen=True, slots=True)
class Spawned(Event):
    """A process that was started from the disk has its pid."""

    process: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed(Event):
    """A process could not be started, or what it needs could not be had."""

    process: int
    cause: str


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """The configuration was read again."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class PlanFailed(Event):
    """The configuration could not be read again."""

    cause: str


@dataclass(frozen=True, slots=True)
class SuccessorFit(Event):
    """The program that is installed now can take over."""

    client: int | None


@dataclass(frozen=True, slots=True)
class SuccessorUnfit(Event):
    """The program that is installed now cannot take over."""

    client: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class TookOver(Event):
    """This program has taken over from one of version `before`."""

    client: int | None
    before: str
    version: str


@dataclass(frozen=True, slots=True)
class Commanded(Event):
    """Somebody asks for something: a signal (client None) or a command on the control socket."""

    name: str
    client: int | None = None
    workers: str = ""
    now: bool = False
