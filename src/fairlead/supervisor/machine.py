"""The supervisor's mind: takes an event, changes the state, returns actions. No operating system in here."""

from fairlead.messages import (
    Accepted,
    Drained,
    Failed,
    Forked,
    ForkFailed,
    Imported,
    Message,
    Ready,
    ReopenLogs,
    StepBegins,
    WantsRecycle,
    decode,
    encode,
)
from fairlead.replication.policy import MAX_WORKERS
from fairlead.supervisor import companions, memory, release_phase, rollout, scaling, upgrade, upkeep
from fairlead.supervisor.actions import (
    Action,
    CloseAccept,
    Exit,
    Forget,
    Kill,
    KillGroup,
    ReopenLogFile,
    Reply,
    Send,
    Signal,
)
from fairlead.supervisor.events import (
    ChannelOver,
    Commanded,
    Event,
    Exited,
    PlanFailed,
    Planned,
    Said,
    Spawned,
    SpawnFailed,
    Started,
    SuccessorFit,
    SuccessorUnfit,
    Tick,
    TookOver,
)
from fairlead.supervisor.model import Release, State, Template, Worker, WorkerState
from fairlead.supervisor.turn import Turn


def handle(state: State, event: Event, now: float, chance: float) -> list[Action]:
    """What is to be done about `event`. Changes `state`."""
    turn = Turn(state, now, chance)
    match event:
        case Tick(heartbeats, usage, templates, load):
            memory.take(turn, usage, templates)
            upkeep.tick(turn, heartbeats)
            scaling.tick(turn, load)
        case Started(plan):
            rollout.begin_start(turn, plan)
        case Said(process, message):
            said(turn, process, message)
        case ChannelOver(process):
            if companion := state.companions.get(process):
                companions.began(turn, companion)  # a program, which has none of our descriptors; or its end follows
        case Exited():
            exited(turn, event)
        case Spawned(process, pid):
            born(turn, process, pid)
        case SpawnFailed(process, cause):
            spawn_failed(turn, process, cause)
        case Planned(plan):
            planned(turn, event)
        case PlanFailed(cause):
            rollout.fail(turn, cause)
        case Commanded():
            commanded(turn, event)
        case SuccessorFit():
            upgrade.fit(turn, event)
        case SuccessorUnfit():
            upgrade.unfit(turn, event)
        case TookOver():
            upgrade.took_over(turn, event)
        case _:
            raise TypeError(f"cannot handle {event!r}: no such event")
    settle(turn)
    return turn.actions


def next_tick(state: State, now: float) -> float:
    """Seconds until the next tick is due: the nearest deadline, but once a second for the heartbeats at least."""
    serving = state.releases.get(state.serving) if state.serving is not None else None
    moments = [now + (scaling.EVERY if serving is not None and serving.plan.replication.scales else 1.0)]
    moments += [worker.deadline for worker in state.workers.values() if worker.deadline is not None]
    moments += [template.deadline for template in state.templates.values() if template.deadline is not None]
    moments += [run.deadline for run in state.step_runs.values()] + companions.moments(state, now)
    for release in state.releases.values():
        moments += [vacancy.at for vacancy in release.vacancies if vacancy.at > now]
        moments += [release.template_at] if release.template_at > now else []
    return max(0.01, min(moments) - now)


def settle(turn: Turn) -> None:
    """After every event: switch what is ready, staff what is missing, leave when all is over."""
    rollout.advance(turn)
    rollout.announce(turn)
    upkeep.staff(turn)
    companions.staff(turn)
    state = turn.state
    in_use = {state.serving, state.operation.release if state.operation else None}
    in_use |= {worker.release for worker in state.workers.values()}
    in_use |= {companion.release for companion in state.companions.values()}
    in_use |= {template.release for template in state.templates.values()}
    for number in [number for number in state.releases if number not in in_use]:
        del state.releases[number]
    if state.stopping is not None:
        finish_stopping(turn)


def said(turn: Turn, process: int, message: Message) -> None:
    """A message of a worker or template; one of a process that is off the books is stale."""
    state = turn.state
    match message:
        case Forked(child, pid):
            born(turn, child, pid)
            return
        case ForkFailed(child, cause):
            spawn_failed(turn, child, f"cannot fork: {cause}")
            return
    if template := state.templates.get(process):
        template_said(turn, template, message)
    elif worker := state.workers.get(process):
        worker_said(turn, worker, message)
    elif companion := state.companions.get(process):
        companions.said(turn, companion, message)
    elif run := state.step_runs.get(process):
        release_phase.said(run, message)
        if isinstance(message, StepBegins):
            rollout.tell(turn, message.text)


def template_said(turn: Turn, template: Template, message: Message) -> None:
    """Imported or failed."""
    if template.killed is not None:
        return
    release = turn.release_of(template)
    match message:
        case Imported(app, seconds, unsafe, held, code):
            template.ready, template.deadline = True, None
            compare_code(turn, release, template.id, code)
            if problem := memory.imported(turn, template, held):
                rollout.fail(turn, problem)
                return
            turn.log("info", "release.imported", release=release.number, app=app, after=seconds)
            if unsafe and release.plan.memory.preload == "auto":
                rollout.fall_back_to_fresh(turn, release, unsafe)
            elif unsafe:
                effect = "forked all the same, because memory.preload is on"
                turn.log("warning", "release.unsafe_to_fork", release=release.number, found=list(unsafe), effect=effect)
        case Failed(stage, cause, traceback):
            template.failure, template.failure_traceback = f"{stage}: {cause}", traceback


def worker_said(turn: Turn, worker: Worker, message: Message) -> None:
    """Ready, failed, wants to be recycled, stopped accepting, drained."""
    if worker.pid is None:
        worker.early.append(encode(message).decode())
        return
    match message:
        case Ready(_seconds, held):
            if problem := memory.ready(turn, worker, held):
                rollout.fail(turn, problem)
                return
            worker.move("ready")
            worker.deadline = None
            turn.release_of(worker).ever_ready = True
            if worker.state == WorkerState.READY and worker.release == turn.state.serving:
                turn.serve(worker)
        case Imported(code=code):
            compare_code(turn, turn.release_of(worker), worker.id, code)
        case Failed(stage, cause, traceback):
            worker.failure, worker.failure_traceback = f"{stage}: {cause}", traceback
        case WantsRecycle(reason):
            worker.recycle = reason
        case Accepted():
            worker.accept_queue_taken = True
        case Drained(requests, streams, websockets, details) if requests or streams or websockets:
            fields = {"requests_cut": requests, "streams_ended": streams, "websockets_closed": websockets}
            level = "warning" if requests else "info"
            turn.log(level, "worker.drained", worker=worker.id, pid=worker.pid, **fields, cut=list(details) or None)


def compare_code(turn: Turn, release: Release, process: int, code: str) -> None:
    """What comes from the disk late may be other code than its release began with: that is said, once for each such code."""
    if release.code and code != release.code:
        turn.log(
            "warning",
            "release.other_code",
            release=release.number,
            process=process,
            cause="the app's files have changed since the release was loaded",
            effect="this process has the code that is on disk now; fairlead reload gives all workers the same",
        )
    release.code = code


def born(turn: Turn, process: int, pid: int) -> None:
    """A process has its pid; it may be gone already."""
    state = turn.state
    if worker := state.workers.get(process):
        worker.pid = pid
        worker.move("born")
        if worker.state == WorkerState.KILLING:
            turn.act(Kill(pid))
        elif worker.template is not None:
            worker.deadline = turn.now + turn.release_of(worker).plan.startup.ready_timeout
        said_early, worker.early = worker.early, []
        for text in said_early:
            worker_said(turn, worker, decode(text.encode()))
    elif template := state.templates.get(process):
        template.pid = pid
        if template.spare:
            template.ready, template.deadline = True, None
        if template.killed is not None:
            turn.act(Kill(pid))
    elif companion := state.companions.get(process):
        companions.born(turn, companion, pid)
    elif run := state.step_runs.get(process):
        run.pid = pid
        if run.stopping:
            turn.act(Signal(pid, "TERM"))
    if early := state.early_exits.pop(pid, None):
        exited(turn, early)


def spawn_failed(turn: Turn, process: int, cause: str) -> None:
    """A process that never came to be."""
    state = turn.state
    if worker := state.workers.get(process):
        worker.failure = cause
        worker_gone(turn, worker, cause, clean=False)
    elif template := state.templates.get(process):
        template.failure = cause
        template_gone(turn, template, cause)
    elif companion := state.companions.get(process):
        rollout.companion_gone(turn, companion, cause, clean=False)
    elif run := state.step_runs.get(process):
        run.failure = cause
        rollout.steps_ended(turn, run, cause)


def exited(turn: Turn, event: Exited) -> None:
    """A child was reaped: ours, or an orphan that we adopted."""
    state = turn.state
    for worker in state.workers.values():
        if worker.pid == event.pid:
            worker_gone(turn, worker, event.how, event.clean)
            return
    for template in state.templates.values():
        if template.pid == event.pid:
            template_gone(turn, template, event.how)
            return
    for companion in state.companions.values():
        if companion.pid == event.pid:
            rollout.companion_gone(turn, companion, event.how, event.clean)
            return
    for run in state.step_runs.values():
        if run.pid == event.pid:
            rollout.steps_ended(turn, run, event.how)
            return
    pids = [worker.pid for worker in state.workers.values()] + [template.pid for template in state.templates.values()]
    pids += [run.pid for run in state.step_runs.values()] + [one.pid for one in state.companions.values()]
    if None in pids:
        state.early_exits[event.pid] = event
    else:
        state.early_exits.clear()


def worker_gone(turn: Turn, worker: Worker, how: str, clean: bool) -> None:
    """A worker is no more: wanted, or a death."""
    state = turn.state
    turn.forget_worker(worker)
    asked = worker.state == WorkerState.DRAINING or (worker.state == WorkerState.KILLING and not worker.blamed)
    before = "" if worker.serving_since is not None else "it ended before it was ready: "
    reason = worker.failure or (worker.end if worker.blamed else None) or before + how
    if asked:
        level = "info" if clean or worker.state == WorkerState.KILLING else "warning"
        turn.log(level, "worker.left", worker=worker.id, pid=worker.pid, reason=worker.end, how=None if clean else how)
    elif state.stopping is not None:
        turn.log("warning", "worker.died", worker=worker.id, pid=worker.pid, reason=reason)
    elif state.operation is not None and state.operation.release == worker.release:
        rollout.worker_died(turn, worker, reason)
    else:
        upkeep.died(turn, worker, reason)


def template_gone(turn: Turn, template: Template, how: str) -> None:
    """A template or spare is no more. What it had promised to fork is asked for again by staffing."""
    state = turn.state
    release = turn.release_of(template)
    del state.templates[template.id]
    turn.act(Forget(template.id, None))
    for worker in [w for w in state.workers.values() if w.template == template.id and w.pid is None]:
        turn.forget_worker(worker)
    for companion in [c for c in state.companions.values() if c.template == template.id and c.pid is None]:
        del state.companions[companion.id]
        turn.act(Forget(companion.id, None))
    for spare in [t for t in state.templates.values() if t.spare and t.pid is None and t.release == release.number]:
        del state.templates[spare.id]
        turn.act(Forget(spare.id, None))
        release.spare = None if release.spare is spare else release.spare
    if template.killed is not None:
        return
    if release.spare is template:
        release.spare = None
        turn.log("warning", "spare.died", release=release.number, pid=template.pid, reason=how)
        turn.fork_spare(release)
    elif release.template is template:
        template_lost(turn, template, how)


def template_lost(turn: Turn, template: Template, how: str) -> None:
    """The release's template ended unasked: the spare takes over, or there is none."""
    state, release = turn.state, turn.release_of(template)
    reason = template.failure or how
    if release.spare is not None:
        release.template, release.spare = release.spare, None
        release.template.spare = False
        turn.log(
            "warning",
            "template.died",
            release=release.number,
            pid=template.pid,
            reason=reason,
            effect="its spare took over",
        )
        turn.fork_spare(release)
        return
    release.template = None
    if state.operation is not None and state.operation.release == release.number:
        told = reason if template.failure else f"the app ended the process while it was imported ({how})"
        rollout.fail(turn, reason if template.ready else told, template.failure_traceback)
        return
    turn.log(
        "error",
        "template.died",
        release=release.number,
        pid=template.pid,
        reason=reason,
        traceback=template.failure_traceback,
    )
    if release.parked_until is not None:
        release.parked_until = None
    release.template_deaths = 1 if template.ready else release.template_deaths + 1
    release.template_at = turn.now + release.plan.restarts.backoff(release.template_deaths, turn.chance)


def planned(turn: Turn, event: Planned) -> None:
    """The configuration was read again: what cannot change while running is refused, the rest becomes a release."""
    state = turn.state
    if state.operation is None or state.serving is None:
        return  # the operation was given up meanwhile
    serving = state.releases[state.serving].plan
    if (serving.name, serving.runtime_dir) != (event.plan.name, event.plan.runtime_dir):
        rollout.fail(
            turn, f"the instance's name changed from {serving.name} to {event.plan.name}: stop and start instead"
        )
        return
    rollout.prepare(turn, event.plan)


def commanded(turn: Turn, command: Commanded) -> None:
    """A signal or a command. Everything is answered."""
    state = turn.state
    error = ""
    result: dict[str, object] = {}
    match command.name:
        case "stop":
            stop(turn, command.now, "asked to stop")
        case "reopen":
            for worker in state.workers.values():
                turn.act(Send(worker.id, ReopenLogs()))
            turn.act(ReopenLogFile())
        case "scale":
            error, result = scale(turn, command.workers)
        case "reload" | "rollback" | "upgrade":
            error = upgrade.begin(turn, command.client) if command.name == "upgrade" else change(turn, command)
            if not error:
                return  # answered when it is done
        case _:
            error = f"cannot {command.name}: no such command"
    if error:
        turn.log("warning", f"{command.name}.refused", cause=error)
    if command.client is not None:
        turn.act(Reply(command.client, error=error, result=result))


def change(turn: Turn, command: Commanded) -> str:
    """Begins a reload or rollback; the reason when it is refused."""
    state, name = turn.state, command.name
    if state.stopping is not None:
        return f"cannot {name}: the service is stopping"
    if state.upgrading:
        return f"cannot {name}: an upgrade of the supervisor is under way"
    if state.operation is not None:
        return f"cannot {name}: another change is under way ({rollout.describe(turn, state.operation)})"
    if name == "reload":
        rollout.begin_reload(turn, command.client)
        return ""
    for release in state.releases.values():
        if release.parked_until is not None and release.template is not None:
            rollout.begin_rollback(turn, command.client, release)
            return ""
    return "cannot rollback: no earlier release is kept in memory (see restarts.park and memory.preload)"


def scale(turn: Turn, wanted: str) -> tuple[str, dict[str, object]]:
    """Sets the number of workers: `6`, `+1` or `-1`. Returns the error, or the new number."""
    state = turn.state
    allowed = f"allowed: a number from 1 to {MAX_WORKERS}, or a change such as +1 or -1"
    try:
        number = int(wanted) + (state.target if wanted[:1] in "+-" else 0)
    except ValueError:
        return f"cannot scale to {wanted[:40]!r}: {allowed}", {}
    if state.stopping is not None:
        return "cannot scale: the service is stopping", {}
    serving = state.releases.get(state.serving) if state.serving is not None else None
    if serving is not None and serving.plan.replication.scales:
        policy = serving.plan.replication
        return (
            f"cannot scale by hand: the load decides, from {policy.workers} to {policy.max} (replication.workers)",
            {},
        )
    if not 1 <= number <= MAX_WORKERS:
        return f"cannot scale from {state.target} to {number} workers: {allowed}", {}
    turn.log("info", "scale", workers=number, before=state.target)
    state.target = number
    if state.operation is not None:
        state.operation.target = number
    note = memory.shortage(turn, number)
    return "", {"workers": number} | ({"note": note} if note else {})


def stop(turn: Turn, now: bool, reason: str) -> None:
    """Drains all and leaves; `now`, or asked a second time with it, kills instead."""
    state = turn.state
    if state.stopping is None:
        state.stopping, state.exit_code = reason, 0
        turn.log("info", "stop.begin", reason=reason, now=now or None)
        rollout.fail(turn, "the service is stopping")
        for release in state.releases.values():
            turn.drop_release(release, reason)
        for worker in list(state.workers.values()):
            turn.drain(worker, reason, last=True)
        for number in state.releases:
            companions.stop_release(turn, number, reason)
    if now:
        for companion in state.companions.values():
            if companion.pid is not None:
                turn.act(KillGroup(companion.pid))
        for worker in list(state.workers.values()):
            turn.kill(worker, "stopped at once")


def finish_stopping(turn: Turn) -> None:
    """Closes the sockets once nobody accepts, and leaves once nobody is left."""
    state = turn.state
    for release in state.releases.values():
        turn.drop_release(release, state.stopping or "")
    if not state.accept_closed and all(
        w.accept_queue_taken or w.state != WorkerState.DRAINING for w in state.workers.values()
    ):
        state.accept_closed = True
        turn.act(CloseAccept())
    if not (state.workers or state.templates or state.step_runs or state.companions):
        turn.act(Exit(state.exit_code or 0))
