"""The memory budget: how many workers may start, which is replaced before the kernel kills it, whether a reload fits."""

from fairlead.memory.policy import HORIZON, UNKNOWN_NEED, Usage, fitting, is_fat
from fairlead.plan.model import Plan
from fairlead.supervisor.model import Operation, Release, State, Template, Worker, WorkerState
from fairlead.supervisor.turn import Turn
from fairlead.units import format_size

_COMING = (WorkerState.FORKING, WorkerState.STARTING, WorkerState.READY)
_SMOOTH = 0.5
_SHORTEST = 0.5
"""Seconds between two readings: a rate over less would be noise."""


def take(turn: Turn, usage: Usage | None, templates: dict[int, int]) -> None:
    """Keeps a reading, and how fast the whole grows: smoothed, and never below nothing."""
    memory = turn.state.memory
    if usage is None or (memory.at is not None and turn.now - memory.at < _SHORTEST):
        return
    memory.templates = templates
    if memory.at is not None:
        rate = (usage.total - memory.usage.total) / (turn.now - memory.at)
        memory.rate = max(0.0, memory.rate + _SMOOTH * (rate - memory.rate))
    memory.usage, memory.at = usage, turn.now


def need(state: State, release: Release) -> int:
    """What one worker more of the release is taken to need: as much as its fellows, or those of the serving release.

    Before any was measured: as much as the template, all of which a fork might copy.
    """
    for number in (release.number, state.serving):
        fellows = [w.id for w in state.workers.values() if w.release == number and w.state == WorkerState.SERVING]
        sizes = [state.memory.usage.private[one] for one in fellows if one in state.memory.usage.private]
        if sizes:
            return max(sum(sizes) // len(sizes), 1)
    template = state.memory.templates.get(release.template.id, 0) if release.template else 0
    return max(template, UNKNOWN_NEED)


def leanest(state: State, number: int) -> int:
    """What the smallest serving worker holds: what a new one begins with."""
    serving = [w.id for w in state.workers_of(number) if w.state == WorkerState.SERVING]
    return min((state.memory.usage.private.get(one, 0) for one in serving), default=0)


def free(state: State, budget: int, each: int) -> int:
    """What is left of the budget once all that is on its way up has what it needs."""
    private = state.memory.usage.private
    coming = [w.id for w in state.workers.values() if w.state in _COMING or w.id not in private]
    reserved = sum(max(0, each - private.get(one, 0)) for one in coming)
    return budget - state.memory.usage.total - reserved


def room(turn: Turn, release: Release, missing: int) -> int:
    """How many of the `missing` workers may start now. One always may when nobody else is there or about to leave."""
    state, budget = turn.state, release.plan.memory.budget
    if not budget or missing <= 0:
        return missing
    replacing = any(worker.retiring for worker in state.workers_of(release.number))
    each = (leanest(state, release.number) if replacing else 0) or need(state, release)
    left = free(state, budget, each)
    allowed = min(missing, max(0, left // each))
    if allowed == 0 and is_alone(state, release):
        return 1
    if allowed == missing:
        state.memory.told = ""
    elif allowed == 0 and not any(worker.state in _COMING for worker in state.workers.values()):
        # Once those on their way are measured, more may fit: it is told when nothing more comes of it.
        said = f"{missing} more wanted, 0 fit"
        if state.memory.told != said:
            state.memory.told = said
            figures = _figures(state, budget) | {"a_worker_needs": format_size(each)}
            turn.log("warning", "memory.full", workers=said, **figures)
    return allowed


def shortage(turn: Turn, workers: int) -> str:
    """What of so many workers does not fit by now, with the figures; empty when all of it does, or nothing is known yet."""
    state = turn.state
    if state.serving is None or state.operation is not None or state.memory.at is None:
        return ""
    release = state.releases[state.serving]
    budget, each = release.plan.memory.budget, need(state, release)
    missing = workers - sum(worker.counts for worker in state.workers_of(release.number))
    over = min(missing, missing - free(state, budget, each) // each)
    if not budget or over <= 0:
        return ""
    taken = format_size(budget - free(state, budget, each))
    return (
        f"{over} of them do not fit into the memory budget now: {taken} of {format_size(budget)} are used or promised, and a "
        f"worker needs {format_size(each)}; they start when there is room"
    )


def is_alone(state: State, release: Release) -> bool:
    """Whether nothing would go on without one worker more: none of the release is there, and none is on its way out."""
    if state.operation is not None and state.operation.release == release.number and state.serving is not None:
        busy = (*_COMING, WorkerState.DRAINING, WorkerState.KILLING)
        return not any(w.state in busy for w in state.workers.values())
    return not state.workers_of(release.number)


def imported(turn: Turn, template: Template, held: int) -> str:
    """Counts what a template holds. The reason, when that alone is more than the budget: no worker could ever run."""
    memory, release = turn.state.memory, turn.release_of(template)
    memory.templates[template.id] = held
    memory.usage = Usage(memory.usage.private, memory.usage.rest + held)
    budget = release.plan.memory.budget
    if not budget or held + UNKNOWN_NEED // 4 <= budget:
        return ""
    return (
        f"memory: the imported app holds {format_size(held)}, and a worker needs some more, but the budget is "
        f"{format_size(budget)}; allowed: a memory.budget that one worker fits into"
    )


def ready(turn: Turn, worker: Worker, held: int) -> str:
    """A worker is ready and holds so much: known from now on, for the last reading was of a worker that had hardly begun.

    The reason, when it is of the coming release and not even it alone fits into the budget. What the release before
    holds does not count: that goes once this one serves.
    """
    state, release = turn.state, turn.release_of(worker)
    if held:
        state.memory.usage.private[worker.id] = held
    operation, budget = state.operation, release.plan.memory.budget
    if not budget or operation is None or operation.release != release.number:
        return ""
    own = release.template.id if release.template else None
    others = sum(size for template, size in state.memory.templates.items() if template != own)
    rest = max(0, state.memory.usage.rest - others)
    if rest + held <= budget:
        return ""
    return (
        f"memory: one worker holds {format_size(held)}, beside {format_size(rest)} that do not grow with the workers, but the "
        f"budget is {format_size(budget)}; allowed: a memory.budget of at least {format_size(rest + held)}"
    )


def check_reload(turn: Turn, operation: Operation, plan: Plan) -> str:
    """Before a release is loaded: the reason when not even one worker of it fits. Parked memory is given up for it.

    The coming release is taken to be as large as the one that serves. Where all its workers do not fit beside the old
    ones, they come one at a time.
    """
    state, budget = turn.state, plan.memory.budget
    serving = state.releases.get(state.serving) if state.serving is not None else None
    if not budget or serving is None or state.memory.at is None:
        return ""
    each = need(state, serving)
    base = state.memory.templates.get(serving.template.id, 0) if serving.template else 0
    left = budget - state.memory.usage.total - base
    for parked in state.releases.values():
        if parked.parked_until is not None and parked.template is not None and left < operation.target * each:
            left += state.memory.templates.get(parked.template.id, 0)
            turn.log("info", "release.dropped", release=parked.number, cause="its memory is needed for the next one")
            turn.drop_release(parked, "its memory is needed")
    if left < each:
        return (
            f"memory: another release needs {format_size(base + each)} (its import {format_size(base)}, one worker "
            f"{format_size(each)}), and {format_size(max(0, left + base))} of the budget of {format_size(budget)} are left; "
            "have fewer workers, or a larger memory.budget"
        )
    if left < operation.target * each:
        operation.batch = 1
        figures = _figures(state, budget) | {"a_worker_needs": format_size(each)}
        turn.log("warning", "memory.reload_one_by_one", workers=operation.target, **figures)
    return ""


def tick(turn: Turn) -> None:
    """Marks the workers that are to be replaced for their memory, before it is too late."""
    state = turn.state
    if state.serving is None or state.changing or state.memory.at is None:
        return
    release = state.releases[state.serving]
    serving = [w for w in state.workers_of(release.number) if w.state == WorkerState.SERVING and not w.retiring]
    if limit := release.plan.memory.worker_limit:
        for worker in serving:
            size = state.memory.usage.private.get(worker.id, 0)
            if size > limit and worker.recycle is None:
                worker.recycle = f"memory: {format_size(size)}, above memory.worker_limit ({format_size(limit)})"
    if release.plan.memory.budget and serving:
        _keep_budget(turn, release, serving)


def _keep_budget(turn: Turn, release: Release, serving: list[Worker]) -> None:
    """Before the budget is full: the fattest worker is replaced. When it is full all the same: one worker less."""
    state, memory, budget = turn.state, turn.state.memory, release.plan.memory.budget
    fresh = leanest(state, release.number)
    if memory.usage.total + memory.rate * HORIZON + fresh <= budget or _somebody_leaves(state):
        return
    fattest = max(serving, key=lambda worker: memory.usage.private.get(worker.id, 0))
    size = memory.usage.private.get(fattest.id, 0)
    figures = _figures(state, budget)
    if is_fat(size, fresh) or (len(serving) == 1 and is_fat(size, UNKNOWN_NEED)):
        if fattest.recycle is None:
            fattest.recycle = f"memory: {format_size(size)}, the most, and the budget is nearly used"
            turn.log(
                "warning", "memory.replace", worker=fattest.id, pid=fattest.pid, private=format_size(size), **figures
            )
    elif memory.usage.total > budget and len(serving) > 1:
        turn.log("warning", "memory.one_worker_less", worker=fattest.id, pid=fattest.pid, **figures)
        turn.drain(fattest, "memory: the budget is used up")


def replacement_fits(turn: Turn, release: Release) -> bool:
    """Whether a successor may start beside the worker it replaces; else that one goes first."""
    budget = release.plan.memory.budget
    fresh = leanest(turn.state, release.number)
    return not budget or free(turn.state, budget, fresh) >= fresh


def _somebody_leaves(state: State) -> bool:
    """Memory that is on its way back is waited for."""
    return any(w.retiring or w.state in (WorkerState.DRAINING, WorkerState.KILLING) for w in state.workers.values())


def _figures(state: State, budget: int) -> dict[str, object]:
    return {
        "used": format_size(state.memory.usage.total),
        "budget": format_size(budget),
        "growth": f"{format_size(int(state.memory.rate))}/s",
    }


def report(state: State) -> dict[str, object]:
    """For status: bytes."""
    release = state.releases.get(state.serving) if state.serving is not None else None
    budget = release.plan.memory.budget if release else 0
    measured = release is not None and state.memory.at is not None
    each = need(state, release) if release is not None and measured else None
    return {
        "budget": budget or None,
        "used": state.memory.usage.total if measured else None,
        "worker_needs": each,
        "workers_fit": fitting(budget, state.memory.usage.rest, each) if each and budget else None,
    }
