"""Start, reload, rollback: bring up a release, switch to it as a whole, let the one before it go.

The rollout in short: read the configuration, run the previous steps, import, start workers, wait until all are ready, let them serve, drain
the others, keep the previous template. Whatever fails before the switch leaves the serving release as it is.
"""

from fairlead.plan.model import Plan
from fairlead.replication.policy import after_change
from fairlead.supervisor import companions, memory, release_phase
from fairlead.supervisor.actions import Forget, KeepListeners, LookAfterCertificates, Progress, ReadConfiguration, Reply
from fairlead.supervisor.model import CompanionRun, Operation, Release, StepsRun, Switch, Worker, WorkerState
from fairlead.supervisor.turn import Turn

NEVER_READY = 3
"""Exit code of a first start in which no worker became ready."""
PROGRESS_EVERY = 5.0
SWITCH_DEADLINE = 2.0
"""Seconds that the announcement of a switch waits for the old workers to stop accepting."""


def begin_start(turn: Turn, plan: Plan) -> None:
    """The first release."""
    turn.state.operation = Operation("start", None, turn.now, plan.replication.workers)
    prepare(turn, plan)


def begin_reload(turn: Turn, client: int | None) -> None:
    """A new release of the code and configuration that are on disk now."""
    serving = turn.state.releases[turn.state.serving or 0]
    turn.state.operation = Operation("reload", client, turn.now, turn.state.target, told=turn.now)
    turn.log("info", "reload.begin", serving=serving.number)
    turn.act(ReadConfiguration(serving.plan))


def begin_rollback(turn: Turn, client: int | None, release: Release) -> None:
    """Back to a release that is parked in memory."""
    turn.state.operation = Operation("rollback", client, turn.now, turn.state.target, release.number, told=turn.now)
    release.parked_until = None
    release.companions_ended.clear()
    release.companions_failed.clear()
    turn.log("info", "rollback.begin", release=release.number)


def prepare(turn: Turn, plan: Plan) -> None:
    """The previous steps come first, where there are any; nothing does when memory is short."""
    operation = turn.state.operation
    assert operation is not None  # noqa: S101
    if problem := memory.check_reload(turn, operation, plan):
        fail(turn, problem)
        return
    if plan.steps:
        release_phase.begin(turn, operation, plan)
    else:
        load(turn, plan)


def steps_ended(turn: Turn, run: StepsRun, how: str) -> None:
    """The process that ran the steps is gone: the release is loaded, or given up."""
    operation = turn.state.operation
    del turn.state.step_runs[run.id]
    turn.act(Forget(run.id, None))
    if operation is None or operation.steps != run.id:
        return  # nobody waits for it any more
    if run.done and run.failure is None:
        load(turn, run.plan)
    else:
        fail(turn, run.failure or f"the process that runs the previous steps died ({how})", run.last_lines)


def load(turn: Turn, plan: Plan) -> None:
    """Makes the release of a plan and starts to import the app; the workers follow from `staffing`."""
    state, operation = turn.state, turn.state.operation
    assert operation is not None  # noqa: S101
    release = Release(state.next_release, plan, started=turn.now, fresh=plan.memory.preload == "off")
    state.next_release += 1
    state.releases[release.number] = release
    operation.release = release.number
    if state.serving is not None:
        before = state.releases[state.serving].plan.replication
        operation.target = after_change(before, plan.replication, operation.target)
    turn.log("info", "release.begin", release=release.number, workers=operation.target)
    if not release.fresh:
        turn.spawn_template(release)
    tell(turn, f"release {release.number}: importing the app")


def wanted(turn: Turn, operation: Operation) -> int:
    """How many workers the coming release is to have by now: those that serve, and the batch that gets ready."""
    release = turn.state.releases[operation.release or 0]
    if operation.kind == "start":
        return operation.target - operation.failed
    batch = operation.batch or release.plan.restarts.batch or operation.target
    already = served(turn, release)
    leaving = [w for w in turn.state.workers_of(turn.state.serving or 0) if w.state == WorkerState.DRAINING]
    if already and leaving:
        return already  # batches are for machines where memory is short: the next one waits until this one's is free
    return min(operation.target, already + batch)


def served(turn: Turn, release: Release) -> int:
    """How many of the release's workers take traffic."""
    return sum(worker.state == WorkerState.SERVING for worker in turn.state.workers_of(release.number))


def advance(turn: Turn) -> None:
    """Lets the coming release's workers serve once the batch, or all of them, are ready."""
    state, operation = turn.state, turn.state.operation
    if operation is None or operation.release is None:
        return
    release = state.releases[operation.release]
    ready = [worker for worker in state.workers_of(release.number) if worker.state == WorkerState.READY]
    if operation.kind == "start":
        if ready and companions.settled(turn, release):
            complete(turn, operation, release)
        return
    already = served(turn, release)
    if already + len(ready) < wanted(turn, operation) or not companions.settled(turn, release):
        return
    for worker in ready:
        turn.serve(worker)
    if already + len(ready) >= operation.target:
        complete(turn, operation, release)
    elif ready:
        tell(turn, f"release {release.number}: {already + len(ready)} of {operation.target} workers serve")


def complete(turn: Turn, operation: Operation, release: Release) -> None:
    """The coming release is the serving one from now on."""
    state = turn.state
    old = state.releases.get(state.serving) if state.serving is not None else None
    state.serving, state.target, state.operation = release.number, operation.target, None
    state.last_failure = None
    for worker in state.workers_of(release.number):
        if worker.state == WorkerState.READY:
            turn.serve(worker)
    if old is not None:
        retire(turn, old, release)
    turn.fork_spare(release)
    turn.act(KeepListeners((release.plan, *(kept.plan for kept in state.releases.values() if kept.parked_until))))
    turn.act(LookAfterCertificates(release.plan))
    announce(turn, at_once=True)  # one before, if it is still waiting
    state.switch = Switch(
        operation.kind,
        operation.client,
        operation.begun,
        release.number,
        operation.target,
        old.number if old is not None else None,
        turn.now + SWITCH_DEADLINE,
    )


def announce(turn: Turn, at_once: bool = False) -> None:
    """Says that a release serves, once no worker of the one before it takes connections: then all new ones are its."""
    switch = turn.state.switch
    if switch is None:
        return
    leaving = turn.state.workers_of(switch.old) if switch.old is not None else []
    waiting = [w for w in leaving if w.state == WorkerState.DRAINING and not w.accept_queue_taken]
    if waiting and turn.now < switch.until and not at_once:
        return
    turn.state.switch = None
    seconds = turn.now - switch.begun
    turn.log("info", f"{switch.kind}.done", release=switch.release, workers=switch.workers, after=seconds)
    if switch.client is not None:
        result: dict[str, object] = {"release": switch.release, "workers": switch.workers, "seconds": seconds}
        turn.act(Reply(switch.client, result=result))


def retire(turn: Turn, old: Release, new: Release) -> None:
    """Drains the release that served until now, and parks its template. Only one release is parked at a time."""
    for worker in turn.state.workers_of(old.number):
        turn.drain(worker, f"release {new.number} serves")
    companions.stop_release(turn, old.number, f"release {new.number} serves")
    for other in turn.state.releases.values():
        if other.parked_until is not None:
            turn.drop_release(other, f"release {old.number} is parked now")
    old.vacancies.clear()
    old.companions_due.clear()
    park = new.plan.restarts.park
    if old.template is None or not old.template.ready or not park:
        turn.drop_release(old, f"release {new.number} serves")
    elif old.plan.binds != new.plan.binds:
        turn.log("info", "release.not_parked", release=old.number, cause="it listened elsewhere")
        turn.drop_release(old, "it listened elsewhere")
    else:
        old.parked_until = turn.now + park
        turn.kill_template(old.spare, "its release is parked")
        old.spare = None
        turn.log("info", "release.parked", release=old.number, seconds=park)


def worker_died(turn: Turn, worker: Worker, reason: str) -> None:
    """A worker of the coming release ended before its release served."""
    operation = turn.state.operation
    assert operation is not None  # noqa: S101
    if operation.kind == "start":
        operation.failed += 1
        turn.log("error", "worker.failed", worker=worker.id, pid=worker.pid, reason=reason)
        if operation.failed < operation.target:
            return
        reason = f"no worker became ready: {reason}" if operation.target > 1 else reason
    fail(turn, reason, worker.failure_traceback)


def companion_gone(turn: Turn, companion: CompanionRun, how: str, clean: bool) -> None:
    """A companion is no more; one of the coming release takes the change with it."""
    cause = companions.gone(turn, companion, how, clean)
    operation = turn.state.operation
    if cause is not None and operation is not None and operation.release == companion.release:
        fail(turn, cause, companion.traceback)


def fail(turn: Turn, cause: str, detail: str = "") -> None:
    """Ends the operation without a switch. The serving release goes on; a first start ends the service."""
    state, operation = turn.state, turn.state.operation
    if operation is None:
        return
    state.operation = None
    release_phase.cancel(turn, operation)
    number = operation.release
    error = f"cannot {operation.kind}: {cause}"
    state.last_failure = error
    level = "error" if state.stopping is None else "warning"  # cut short by a stop, nothing went wrong
    turn.log(level, f"{operation.kind}.failed", release=number, cause=cause, traceback=detail)
    if number is not None:
        release = state.releases[number]
        for worker in state.workers_of(number):
            turn.drain(worker, f"{operation.kind} failed")
        companions.stop_release(turn, number, f"{operation.kind} failed")
        if operation.kind == "rollback" and release.template is not None and release.template.ready:
            release.parked_until = turn.now + release.plan.restarts.park
        else:
            turn.drop_release(release, f"{operation.kind} failed")
    if operation.client is not None:
        turn.act(Reply(operation.client, error=error, detail=detail))
    if state.serving is None and state.stopping is None:
        state.stopping, state.exit_code = "the first start failed", NEVER_READY
    elif state.serving is not None:
        kept = (state.releases[state.serving], *(r for r in state.releases.values() if r.parked_until))
        turn.act(KeepListeners(tuple(release.plan for release in kept)))


def fall_back_to_fresh(turn: Turn, release: Release, names: tuple[str, ...]) -> None:
    """Forking is unsafe for this app: from now on the release's workers are started from the disk."""
    turn.log(
        "warning",
        "release.unsafe_to_fork",
        release=release.number,
        found=list(names),
        effect="each worker imports the app by itself and shares no memory",
    )
    release.fresh = True
    for worker in turn.state.workers_of(release.number):
        if worker.state in (WorkerState.FORKING, WorkerState.STARTING, WorkerState.READY):
            turn.kill(worker, "started again without forking")
    turn.drop_release(release, "forking is unsafe")


def tell(turn: Turn, text: str) -> None:
    """A line for whoever waits for the operation."""
    operation = turn.state.operation
    if operation is not None and operation.client is not None:
        operation.told = turn.now
        turn.act(Progress(operation.client, text))


def tell_waiting(turn: Turn) -> None:
    """Now and then, a line that says what the operation waits for, so that the client knows it is alive."""
    operation = turn.state.operation
    if operation is None or operation.client is None or turn.now - operation.told < PROGRESS_EVERY:
        return
    tell(turn, f"{describe(turn, operation)}, {turn.now - operation.begun:.0f} s")


def describe(turn: Turn, operation: Operation) -> str:
    """What the operation is at, in words."""
    if run := turn.state.step_runs.get(operation.steps or 0):
        return f"{operation.kind}: {run.at}"
    if operation.release is None:
        return f"{operation.kind}: reading the configuration"
    release = turn.state.releases[operation.release]
    if not release.fresh and (release.template is None or not release.template.ready):
        return f"{operation.kind}: release {release.number}: importing the app"
    if any(run.release == release.number for run in turn.state.companions.values()):
        return f"{operation.kind}: release {release.number}: waiting for its companions to settle"
    ready = sum(w.state in (WorkerState.READY, WorkerState.SERVING) for w in turn.state.workers_of(release.number))
    return f"{operation.kind}: release {release.number}: {ready} of {operation.target} workers are ready"
