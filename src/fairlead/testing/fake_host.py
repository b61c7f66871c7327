"""A host made of plain data for tests of the supervisor's machine: virtual time, obedient or scripted children."""

from collections.abc import Callable
from dataclasses import field

from fairlead.lean_dataclass import dataclass
from fairlead.messages import Accepted, CompanionBegins, Drain, Failed, Forked, Imported, Message, Ready, StepsRan
from fairlead.plan.model import AppPlan, Bind, Plan
from fairlead.supervisor import machine
from fairlead.supervisor.actions import (
    Action,
    Exit,
    ForkCompanion,
    ForkSpareTemplate,
    ForkWorker,
    Kill,
    KillGroup,
    Log,
    Reply,
    Send,
    Signal,
    SpawnCompanion,
    SpawnSteps,
    SpawnTemplate,
    SpawnWorker,
)
from fairlead.supervisor.events import ChannelOver, Event, Exited, Said, Spawned, Tick
from fairlead.supervisor.model import State, Worker


def make_plan(**changes: object) -> Plan:
    """A small plan; `changes` replace its fields."""
    fields: dict[str, object] = {
        "name": "test",
        "app": AppPlan("main"),
        "binds": (Bind("tcp", "127.0.0.1", 8000),),
        "runtime_dir": "/run/test",
        **changes,
    }
    return Plan(**fields)  # type: ignore[arg-type]


@dataclass(slots=True)
class FakeHost:
    """Drives a State: carries actions out on children that exist only here.

    By default every child behaves: imports, forks, gets ready, drains and leaves at once. `on_import`, `on_start` and
    `on_steps` (called with the process number) return messages to send instead; an empty list means silence.
    """

    state: State
    now: float = 1000.0
    actions: list[Action] = field(default_factory=list)
    alive: dict[int, int] = field(default_factory=dict)
    """Process number → pid."""
    on_import: Callable[[int], list[Message]] = lambda _process: [Imported("main:app", 0.1)]
    on_start: Callable[[int], list[Message]] = lambda _process: [Ready(0.1)]
    on_steps: Callable[[int], list[Message]] = lambda _process: [StepsRan()]
    drains: bool = True
    ends: bool = True
    """Whether processes end when a signal asks them to."""
    begins: bool = True
    """Whether companions become their programs, and call their functions."""
    beats: bool = True
    exit_code: int | None = None
    next_pid: int = 100

    def post(self, event: Event) -> list[Action]:
        """Handles an event and all that follows from it; returns the actions of the whole chain."""
        begun = len(self.actions)
        queue = [event]
        while queue:
            actions = machine.handle(self.state, queue.pop(0), self.now, 0.5)
            self.actions += actions
            for action in actions:
                queue += self._carry_out(action)
        return self.actions[begun:]

    def wait(self, seconds: float, step: float = 0.5) -> None:
        """Lets time pass, tick by tick; children beat while `beats`."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            beat = int(self.now * 1e9) if self.beats else 1
            self.post(Tick(dict.fromkeys(self.state.workers, beat)))

    def kill(self, process: int, how: str = "signal SIGKILL") -> list[Action]:
        """A child dies."""
        return self.post(Exited(self.alive.pop(process), how))

    def logged(self, event: str) -> list[dict[str, object]]:
        """The fields of all log lines of that event."""
        return [action.fields for action in self.actions if isinstance(action, Log) and action.event == event]

    def replies(self) -> list[Reply]:
        """All answers to clients."""
        return [action for action in self.actions if isinstance(action, Reply)]

    def workers(self, state: str = "serving") -> list[Worker]:
        """The workers in a state."""
        return [worker for worker in self.state.workers.values() if worker.state == state]

    def _carry_out(self, action: Action) -> list[Event]:
        match action:
            case SpawnTemplate(process, _release, _plan):
                return [self._born(process), *self._say(process, self.on_import(process))]
            case SpawnWorker(process, _release, _slot, _plan):
                return [self._born(process), *self._say(process, self.on_start(process))]
            case ForkWorker(template, process, _release, _slot) if template in self.alive:
                born = Said(template, Forked(process, self._pid(process)))
                return [born, *self._say(process, self.on_start(process))]
            case ForkSpareTemplate(template, process) if template in self.alive:
                return [Said(template, Forked(process, self._pid(process)))]
            case Send(process, Drain()) if self.drains and process in self.alive:
                pid = self.alive.pop(process)
                return [Said(process, Accepted()), Exited(pid, "exit code 0", clean=True)]
            case SpawnSteps(process, _plan):
                return [self._born(process), *self._steps(process)]
            case Kill(pid) | KillGroup(pid):
                return self._killed(pid)
            case Signal(pid, _name) if self.ends:
                return self._killed(pid, "exit code 1")
            case SpawnCompanion(process, _plan, _name):
                return [self._born(process), *([ChannelOver(process)] if self.begins else [])]
            case ForkCompanion(template, process, _name) if template in self.alive:
                forked = Said(template, Forked(process, self._pid(process)))
                return [forked, *([Said(process, CompanionBegins())] if self.begins else [])]
            case Exit(code):
                self.exit_code = code
        return []

    def _pid(self, process: int) -> int:
        self.next_pid += 1
        self.alive[process] = self.next_pid
        return self.next_pid

    def _born(self, process: int) -> Event:
        return Spawned(process, self._pid(process))

    def _say(self, process: int, messages: list[Message]) -> list[Event]:
        said: list[Event] = [Said(process, message) for message in messages]
        if any(isinstance(message, Failed) for message in messages):
            said.append(Exited(self.alive.pop(process), "exit code 1"))
        return said

    def _steps(self, process: int) -> list[Event]:
        """They end as soon as they have said how it went."""
        messages = self.on_steps(process)
        said = self._say(process, messages)
        if any(isinstance(message, StepsRan) for message in messages):
            said.append(Exited(self.alive.pop(process), "exit code 0", clean=True))
        return said

    def _killed(self, pid: int, how: str = "signal SIGKILL") -> list[Event]:
        for process, its in list(self.alive.items()):
            if its == pid:
                del self.alive[process]
                return [Exited(pid, how)]
        return []
