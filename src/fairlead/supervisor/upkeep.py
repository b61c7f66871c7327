"""Keeping the wanted number of workers alive: staffing, deadlines, hangs, recycling."""

from fairlead.supervisor import companions, memory, release_phase, rollout
from fairlead.supervisor.actions import DumpStacks, Kill
from fairlead.supervisor.model import Release, Template, Vacancy, Worker, WorkerState
from fairlead.supervisor.turn import Turn

LARGEST_STEP = 2.0
"""Seconds. A longer gap between two ticks means that the supervisor itself did not run, which proves nothing."""
TOO_MANY = "fewer workers are wanted"
_LEAVING = (WorkerState.DRAINING, WorkerState.KILLING)
_BEATING = (WorkerState.READY, WorkerState.SERVING, WorkerState.DRAINING)


def staff(turn: Turn) -> None:
    """Starts what is missing and drains what is too many, in the serving release and in the coming one."""
    state, operation = turn.state, turn.state.operation
    if state.stopping is not None:
        return
    coming = state.releases[operation.release] if operation is not None and operation.release is not None else None
    # The serving release first: one of it that leaves now keeps the coming one from starting its next batch.
    if state.serving is not None:
        replaced = rollout.served(turn, coming) if coming is not None else 0
        too_many = f"release {coming.number} takes its place" if replaced and coming is not None else TOO_MANY
        staff_release(turn, state.releases[state.serving], state.target - replaced, too_many)
    if coming is not None and operation is not None:
        staff_release(turn, coming, rollout.wanted(turn, operation))


def staff_release(turn: Turn, release: Release, count: int, too_many: str = TOO_MANY) -> None:
    """Brings one release to `count` workers, as far as back-off and its template allow now. `too_many`: why some leave."""
    present = [worker for worker in turn.state.workers_of(release.number) if worker.counts]
    missing = memory.room(turn, release, count - len(present))
    if missing <= 0:
        release.vacancies.clear()
        # The youngest go first: the oldest have the warmest caches.
        order = sorted(present, key=lambda worker: (worker.state == WorkerState.SERVING, -worker.id))
        for worker in order[: max(0, -missing)]:
            turn.drain(worker, too_many)
        return
    if not release.fresh and not template_ready(turn, release):
        return
    release.vacancies.sort(key=lambda vacancy: vacancy.at)
    del release.vacancies[missing:]
    due = [vacancy for vacancy in release.vacancies if vacancy.at <= turn.now]
    never_filled = missing - len(release.vacancies)
    release.vacancies = release.vacancies[len(due) :]
    for deaths in [*(vacancy.deaths for vacancy in due), *([0] * never_filled)]:
        turn.start_worker(release, deaths)


def template_ready(turn: Turn, release: Release) -> bool:
    """Whether workers can be forked. A template that is lost for good is started again from the disk, and that is said."""
    if release.template is None and turn.now >= release.template_at:
        turn.log(
            "warning",
            "template.reimport",
            release=release.number,
            cause="the template and its spare are gone",
            effect="replacements come from the code that is on disk now",
        )
        turn.spawn_template(release)
    return release.template is not None and release.template.ready


def died(turn: Turn, worker: Worker, reason: str) -> None:
    """A worker of the serving release ended unasked: its seat is filled again, at once or after a back-off."""
    state, release = turn.state, turn.release_of(worker)
    policy = release.plan.restarts
    lived = turn.now - worker.serving_since if worker.serving_since is not None else 0.0
    deaths = 1 if worker.serving_since is not None and lived >= policy.quiet_time else worker.deaths + 1
    delay = policy.backoff(deaths, turn.chance)
    if not worker.retiring:
        release.vacancies.append(Vacancy(turn.now + delay, deaths))
    turn.record_restart(worker.id, worker.release, reason)
    turn.log(
        "error",
        "worker.died",
        worker=worker.id,
        pid=worker.pid,
        release=worker.release,
        reason=reason,
        in_a_row=deaths if deaths > 1 else None,
        replaced="at once" if delay == 0 else f"in {delay:.1f} s",
        traceback=worker.failure_traceback,
    )
    if worker.failure is not None or worker.serving_since is None:
        state.last_failure = f"worker {worker.id}: {reason}"


def tick(turn: Turn, heartbeats: dict[int, int]) -> None:
    """All that time brings."""
    state = turn.state
    step = min(turn.now - state.last_tick, LARGEST_STEP) if state.last_tick is not None else 0.0
    state.last_tick = turn.now
    for template in list(state.templates.values()):
        if template.deadline is not None and turn.now >= template.deadline:
            template_overdue(turn, template)
    for worker in list(state.workers.values()):
        if worker.deadline is not None and turn.now >= worker.deadline:
            worker_overdue(turn, worker)
        if worker.state in _BEATING:
            watch_heartbeat(turn, worker, heartbeats.get(worker.id, 0), step)
    for release in list(state.releases.values()):
        if release.parked_until is not None and turn.now >= release.parked_until:
            turn.log("info", "release.dropped", release=release.number, cause="it was parked long enough")
            turn.drop_release(release, "it was parked long enough")
    release_phase.tick(turn)
    for number in companions.tick(turn):
        template_hung(turn, number)
    if state.stopping is None:
        memory.tick(turn)
        recycle(turn)
    rollout.tell_waiting(turn)


def watch_heartbeat(turn: Turn, worker: Worker, heartbeat: int, step: float) -> None:
    """Sums up the time without a new heartbeat; too much of it is a hang."""
    if heartbeat != worker.heartbeat:
        worker.heartbeat, worker.silent = heartbeat, 0.0
        return
    worker.silent += step
    limit = turn.release_of(worker).plan.restarts.hang_timeout
    if limit and worker.silent >= limit:
        turn.log("error", "worker.hung", worker=worker.id, pid=worker.pid, silent=worker.silent)
        turn.kill(worker, f"hung: its event loop did not run for {worker.silent:.0f} s", blamed=True)


def worker_overdue(turn: Turn, worker: Worker) -> None:
    """A worker's state has lasted too long."""
    release = turn.release_of(worker)
    if worker.state == WorkerState.KILLING:
        worker.deadline = None
        if worker.pid is not None:
            turn.act(Kill(worker.pid))
    elif worker.state == WorkerState.DRAINING:
        turn.log("warning", "worker.drain_overdue", worker=worker.id, pid=worker.pid)
        worker.move("kill")
        worker.deadline = turn.now + 1.0
        if worker.pid is not None:
            turn.act(DumpStacks(worker.id, worker.pid))
    elif worker.state == WorkerState.FORKING and worker.template is not None:
        turn.log("error", "template.hung", release=release.number, template=worker.template)
        worker.deadline = None
        if may_fall_back(release):
            rollout.fall_back_to_fresh(turn, release, ("a fork that never returned",))
        else:
            template_hung(turn, worker.template)
    elif worker.template is not None and may_fall_back(release):
        turn.kill(worker, "not ready in time", blamed=True)
        worker.blamed = False  # forking is to blame, not the worker
        rollout.fall_back_to_fresh(turn, release, ("a forked worker that never became ready",))
    else:
        turn.kill(worker, "not ready in time", blamed=True)


def may_fall_back(release: Release) -> bool:
    """Whether forking itself may be what keeps the release's workers from getting ready."""
    return release.plan.memory.preload == "auto" and not release.ever_ready


def template_hung(turn: Turn, number: int) -> None:
    """A template that does not answer is of no use; its end brings on the spare."""
    template = turn.state.templates.get(number)
    if template is not None and template.pid is not None:
        turn.act(Kill(template.pid))


def template_overdue(turn: Turn, template: Template) -> None:
    """An import, or the fork of a spare, takes too long."""
    template.deadline = None
    if template.spare and template.pid is None:
        parent = turn.release_of(template).template
        if parent is not None:
            template_hung(turn, parent.id)
        return
    limit = turn.release_of(template).plan.startup.import_timeout
    template.failure = f"importing the app took longer than startup.import_timeout ({limit:g} s)"
    if template.pid is not None:
        turn.act(DumpStacks(template.id, template.pid))
        turn.act(Kill(template.pid))


def recycle(turn: Turn) -> None:
    """Replaces workers that reached a limit: one at a time, the replacement first where memory allows it."""
    state = turn.state
    if state.serving is None or state.changing:
        return
    workers = state.workers_of(state.serving)
    for worker in workers:
        if worker.max_age_at is not None and turn.now >= worker.max_age_at and worker.state == WorkerState.SERVING:
            worker.recycle = worker.recycle or "max_age reached"
    serving = [worker for worker in workers if worker.state == WorkerState.SERVING]
    retiring = [worker for worker in serving if worker.retiring]
    if retiring:
        worker = retiring[0]
        succeeded = sum(not other.retiring for other in serving) >= min(state.target, worker.successors)
        coming = any(other.state not in (*_LEAVING, WorkerState.SERVING) for other in workers)
        if succeeded or not (coming or memory.replacement_fits(turn, state.releases[state.serving])):
            turn.record_restart(worker.id, worker.release, worker.recycle or "recycled")
            turn.drain(worker, worker.recycle or "recycled")
    else:
        for worker in serving:
            if worker.recycle is not None:
                worker.retiring, worker.successors = True, len(serving)
                turn.log("info", "worker.recycling", worker=worker.id, pid=worker.pid, reason=worker.recycle)
                return
