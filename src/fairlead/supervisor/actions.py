"""What the supervisor can do about an event: plain data, which `loop` carries out."""

from dataclasses import field

from fairlead.lean_dataclass import dataclass
from fairlead.messages import Message
from fairlead.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all actions."""


@dataclass(frozen=True, slots=True)
class SpawnTemplate(Action):
    """Start a template for the release from the disk."""

    process: int
    release: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class SpawnWorker(Action):
    """Start a worker from the disk."""

    process: int
    release: int
    slot: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class SpawnSteps(Action):
    """Start the process that runs the previous steps."""

    process: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class ForkWorker(Action):
    """Ask the template to fork a worker."""

    template: int
    process: int
    release: int
    slot: int


@dataclass(frozen=True, slots=True)
class SpawnCompanion(Action):
    """Start a companion from the disk."""

    process: int
    plan: Plan
    name: str


@dataclass(frozen=True, slots=True)
class ForkCompanion(Action):
    """Ask the template to fork a companion."""

    template: int
    process: int
    name: str


@dataclass(frozen=True, slots=True)
class ForkSpareTemplate(Action):
    """Ask the template to fork a spare."""

    template: int
    process: int


@dataclass(frozen=True, slots=True)
class Send(Action):
    """Send a message to a process."""

    process: int
    message: Message


@dataclass(frozen=True, slots=True)
class DumpStacks(Action):
    """Have a worker write the stacks of all its threads."""

    process: int
    pid: int


@dataclass(frozen=True, slots=True)
class Kill(Action):
    """SIGKILL."""

    pid: int


@dataclass(frozen=True, slots=True)
class KillGroup(Action):
    """SIGKILL for a process and all of the group that it leads."""

    pid: int


@dataclass(frozen=True, slots=True)
class Signal(Action):
    """A signal by its name, without SIG."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """The process is gone: close its channel, log its stacks if it left any, free its slot."""

    process: int
    slot: int | None


@dataclass(frozen=True, slots=True)
class ReadConfiguration(Action):
    """Read the configuration again, in a process of its own."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class CloseAccept(Action):
    """Close the listening sockets for good: no worker will accept any more."""


@dataclass(frozen=True, slots=True)
class KeepListeners(Action):
    """Close the listening sockets that none of these plans names."""

    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class TrySuccessor(Action):
    """Find out whether the program that is installed now can take over."""

    client: int | None


@dataclass(frozen=True, slots=True)
class HandOver(Action):
    """Become the program that is installed now, with all that is open and known."""

    client: int | None


@dataclass(frozen=True, slots=True)
class LookAfterCertificates(Action):
    """This plan's release serves: its certificates are the ones to obtain and to renew."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class ReopenLogFile(Action):
    """Open the supervisor's own log file again."""


@dataclass(frozen=True, slots=True)
class Log(Action):
    """Write an event."""

    level: str
    event: str
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Progress(Action):
    """Tell whoever asked how it is going."""

    client: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply(Action):
    """Answer whoever asked. `error` empty: it worked."""

    client: int
    error: str = ""
    detail: str = ""
    result: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """Everything is gone: leave with this code."""

    code: int
