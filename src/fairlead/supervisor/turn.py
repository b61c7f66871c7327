"""One turn of the machine: the state, the moment, and the actions gathered; with the moves that all rooms share."""

from dataclasses import field

from fairlead.lean_dataclass import dataclass
from fairlead.messages import Drain, Serve
from fairlead.supervisor.actions import (
    Action,
    DumpStacks,
    Forget,
    ForkSpareTemplate,
    ForkWorker,
    Kill,
    Log,
    Send,
    SpawnTemplate,
    SpawnWorker,
)
from fairlead.supervisor.model import Release, Restart, State, Template, Worker, WorkerState

FORK_DEADLINE = 15.0
"""Seconds a template may take to answer a fork. Forking 1 GB takes some 10 ms; only a stopped template takes longer."""
DUMP_TIME = 1.0
"""Seconds between the order to write the stacks and SIGKILL."""


@dataclass(slots=True)
class Turn:
    """`now`: monotonic seconds. `chance`: a random number in [0, 1) that stands for all jitter of this turn."""

    state: State
    now: float
    chance: float
    actions: list[Action] = field(default_factory=list)

    def act(self, action: Action) -> None:
        """Adds an action; they are carried out in order."""
        self.actions.append(action)

    def log(self, level: str, event: str, **fields: object) -> None:
        """Adds a log line."""
        self.act(Log(level, event, fields))

    def release_of(self, thing: Worker | Template) -> Release:
        """The release a process belongs to."""
        return self.state.releases[thing.release]

    # workers

    def start_worker(self, release: Release, deaths: int) -> None:
        """Starts one worker of the release, forked where there is a template, in the lowest free slot."""
        taken = {worker.slot for worker in self.state.workers.values()}
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        identity = self.state.take_id()
        worker = Worker(identity, slot, release.number, born=self.now, deadline=None, deaths=deaths)
        self.state.workers[identity] = worker
        if release.fresh or release.template is None:
            worker.deadline = self.now + release.plan.startup.import_timeout + release.plan.startup.ready_timeout
            self.act(SpawnWorker(identity, release.number, slot, release.plan))
        else:
            worker.template = release.template.id
            worker.deadline = self.now + FORK_DEADLINE
            self.act(ForkWorker(release.template.id, identity, release.number, slot))

    def serve(self, worker: Worker) -> None:
        """Lets a ready worker take traffic."""
        worker.move("serve")
        worker.serving_since = self.now
        policy = self.release_of(worker).plan.restarts
        if policy.max_age:
            worker.max_age_at = self.now + policy.max_age + policy.max_age_jitter * self.chance
        self.act(Send(worker.id, Serve()))
        self.log(
            "info",
            "worker.serving",
            worker=worker.id,
            pid=worker.pid,
            release=worker.release,
            after=self.now - worker.born,
        )

    def drain(self, worker: Worker, reason: str, last: bool = False) -> None:
        """Lets a worker finish and leave; one that does not serve yet has nothing to finish."""
        if worker.state in (WorkerState.DRAINING, WorkerState.KILLING):
            return
        if worker.state != WorkerState.SERVING:
            self.kill(worker, reason)
            return
        worker.move("drain")
        worker.end = reason
        worker.deadline = self.now + self.release_of(worker).plan.restarts.drain_deadline
        self.act(Send(worker.id, Drain(reason, last)))
        self.log("info", "worker.draining", worker=worker.id, pid=worker.pid, reason=reason)

    def kill(self, worker: Worker, reason: str, blamed: bool = False) -> None:
        """Ends a worker. One that is `blamed` has its stacks written first, and its end counts as a death."""
        if worker.state == WorkerState.KILLING:
            return
        worker.move("kill")
        worker.end, worker.blamed, worker.deadline = reason, blamed, None
        if worker.pid is None:
            return  # killed as soon as its pid is known
        if blamed:
            worker.deadline = self.now + DUMP_TIME
            self.act(DumpStacks(worker.id, worker.pid))
        else:
            self.act(Kill(worker.pid))

    def forget_worker(self, worker: Worker) -> None:
        """Takes a worker that is gone off the books, and what it held with it."""
        del self.state.workers[worker.id]
        self.state.memory.usage.private.pop(worker.id, None)
        self.act(Forget(worker.id, worker.slot))

    def record_restart(self, process: int, release: int, reason: str, companion: str = "") -> None:
        """Keeps the last fifty restarts for status."""
        self.state.restarts_total += 1
        self.state.restarts.append(Restart(self.now, process, release, reason, companion))
        del self.state.restarts[:-50]

    # templates

    def spawn_template(self, release: Release) -> None:
        """Starts the release's template from the disk."""
        template = Template(self.state.take_id(), release.number, self.now + release.plan.startup.import_timeout)
        self.state.templates[template.id] = release.template = template
        self.act(SpawnTemplate(template.id, release.number, release.plan))

    def fork_spare(self, release: Release) -> None:
        """Asks the template for a spare, unless there is one or forking is not the release's way."""
        if release.fresh or release.spare is not None or release.template is None or not release.template.ready:
            return
        spare = Template(self.state.take_id(), release.number, self.now + FORK_DEADLINE, spare=True)
        self.state.templates[spare.id] = release.spare = spare
        self.act(ForkSpareTemplate(release.template.id, spare.id))

    def kill_template(self, template: Template | None, reason: str) -> None:
        """Ends a template or spare; nothing when there is none. It is taken off the books when it is reaped."""
        if template is None or template.killed is not None:
            return
        template.killed, template.deadline = reason, None
        if template.pid is not None:
            self.act(Kill(template.pid))

    def drop_release(self, release: Release, reason: str) -> None:
        """Gives up a release's template and spare, and with them the way back to it."""
        release.parked_until = None
        self.kill_template(release.template, reason)
        self.kill_template(release.spare, reason)
        release.template = release.spare = None
