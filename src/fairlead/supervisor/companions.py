"""Companions: started when a release's workers are ready, watched like them, replaced with their release."""

from fairlead.companions.policy import Companion
from fairlead.messages import CompanionBegins, Failed, Message
from fairlead.supervisor.actions import Forget, ForkCompanion, Kill, KillGroup, Signal, SpawnCompanion
from fairlead.supervisor.model import CompanionRun, Release, State, Vacancy
from fairlead.supervisor.turn import FORK_DEADLINE, Turn

_JUST = 0.05
"""Seconds. What was due a moment ago may have come between an event and the question when the next tick is due."""

Seat = tuple[str, int]
"""A companion's name and the number of its replica."""


def settled(turn: Turn, release: Release) -> bool:
    """Starts what of the coming release may run beside the old one; True once all of it has run for its settle_time."""
    alone = turn.state.serving is None
    wanted = [seat for seat in seats(release) if alone or policy_of(release, seat).overlap]
    for seat in wanted:
        if seat not in occupied(turn.state, release) and seat not in release.companions_ended:
            start(turn, release, seat, deaths=0)
    runs = [run for run in of(turn.state, release) if run.seat in wanted]
    return all(run.pid is not None and run.settled_at is not None and turn.now >= run.settled_at for run in runs)


def staff(turn: Turn) -> None:
    """Fills the seats of the serving release, as far as back-off and the companions of other releases allow."""
    state = turn.state
    if state.serving is None or state.stopping is not None:
        return
    release = state.releases[state.serving]
    taken = occupied(state, release) | release.companions_ended
    elsewhere = {run.name for run in state.companions.values() if run.release != release.number}
    for seat in seats(release):
        vacancy = release.companions_due.get(seat)
        if seat in taken or (vacancy is not None and vacancy.at > turn.now):
            continue
        if seat[0] in elsewhere and not policy_of(release, seat).overlap:
            continue
        release.companions_due.pop(seat, None)
        start(turn, release, seat, vacancy.deaths if vacancy else 0)


def start(turn: Turn, release: Release, seat: Seat, deaths: int) -> None:
    """Starts one companion: forked where it is a function and the release forks; not now when its template is not there."""
    policy = policy_of(release, seat)
    forked = policy.is_callable and not release.fresh
    if forked and (release.template is None or not release.template.ready):
        return
    run = CompanionRun(turn.state.take_id(), release.number, policy, seat[1], turn.now, deaths)
    turn.state.companions[run.id] = run
    if forked and release.template is not None:
        run.template, run.deadline = release.template.id, turn.now + FORK_DEADLINE
        turn.act(ForkCompanion(release.template.id, run.id, policy.name))
    else:
        turn.act(SpawnCompanion(run.id, release.plan, policy.name))


def born(turn: Turn, run: CompanionRun, pid: int) -> None:
    """It is there; how long it may take to begin is bounded as an import is, for a function is imported first."""
    run.pid, run.born = pid, turn.now
    limit = turn.state.releases[run.release].plan.startup.import_timeout
    run.deadline = turn.now + limit if run.began is None and run.end is None else None
    if run.end is not None:
        turn.act(Kill(pid))
        return
    turn.log("info", "companion.started", companion=run.label, pid=pid, release=run.release)


def said(turn: Turn, run: CompanionRun, message: Message) -> None:
    """That it begins, or why it could not."""
    if isinstance(message, CompanionBegins):
        began(turn, run)
    elif isinstance(message, Failed):
        run.failure, run.traceback = f"{message.stage}: {message.cause}", message.traceback


def began(turn: Turn, run: CompanionRun) -> None:
    """It is its program, or calls its function, from now on."""
    if run.began is None:
        run.began = turn.now
        run.deadline = run.deadline if run.end is not None or run.pid is None else None


def gone(turn: Turn, run: CompanionRun, how: str, clean: bool) -> str | None:
    """It ended. The cause, when it belongs to a release that comes and so ends the change; None else."""
    state = turn.state
    del state.companions[run.id]
    turn.act(Forget(run.id, None))
    release = state.releases[run.release]
    reason = run.failure or how
    if run.end is not None or state.stopping is not None:
        turn.log("info", "companion.left", companion=run.label, pid=run.pid, reason=run.end, how=None if clean else how)
        return None
    if release.number != state.serving and not (clean and not run.policy.starts_again(clean)):
        turn.log("error", "companion.failed", companion=run.label, pid=run.pid, reason=reason)
        return f"companion {run.label} ended after {turn.now - (run.began or run.born):.1f} s: {reason}"
    if not run.policy.starts_again(clean):
        release.companions_ended.add(run.seat)
        if not clean:
            release.companions_failed[run.seat] = reason
        level = "info" if clean else "error"
        turn.log(level, "companion.ended", companion=run.label, pid=run.pid, how=how, restart=run.policy.restart)
        return None
    _died(turn, release, run, reason)
    return None


def _died(turn: Turn, release: Release, run: CompanionRun, reason: str) -> None:
    policy = release.plan.restarts
    deaths = 1 if run.pid is not None and turn.now - run.born >= policy.quiet_time else run.deaths + 1
    delay = policy.backoff(deaths, turn.chance)
    release.companions_due[run.seat] = Vacancy(turn.now + delay, deaths)
    turn.record_restart(run.id, run.release, reason, run.label)
    turn.log(
        "error",
        "companion.died",
        companion=run.label,
        pid=run.pid,
        reason=reason,
        in_a_row=deaths if deaths > 1 else None,
        again="at once" if delay == 0 else f"in {delay:.1f} s",
        traceback=run.traceback,
    )


def stop_release(turn: Turn, number: int, reason: str) -> None:
    """Asks all companions of a release to end."""
    for run in turn.state.companions.values():
        if run.release == number:
            stop(turn, run, reason)


def stop(turn: Turn, run: CompanionRun, reason: str) -> None:
    """Asks a companion to end; later it is made to."""
    if run.end is not None:
        return
    run.end, run.deadline = reason, turn.now + run.policy.stop_timeout
    if run.pid is not None:
        turn.act(Signal(run.pid, run.policy.stop_signal))


def tick(turn: Turn) -> list[int]:
    """Kills what did not begin or end in time; returns the templates that did not answer a fork in time."""
    hung = []
    for run in turn.state.companions.values():
        if run.deadline is None or turn.now < run.deadline:
            continue
        run.deadline = None
        if run.pid is not None:
            what = "begin" if run.end is None else "end"
            turn.log(
                "warning", "companion.killed", companion=run.label, pid=run.pid, cause=f"it did not {what} in time"
            )
            run.failure = run.failure or f"it did not {what} in time"
            turn.act(KillGroup(run.pid))
        elif run.template is not None:
            hung.append(run.template)
    return hung


def moments(state: State, now: float) -> list[float]:
    """When the next thing is due. What was due before, and waits for something else (a template, the workers), is no moment."""
    deadlines = [run.deadline for run in state.companions.values() if run.deadline is not None]
    found = [vacancy.at for release in state.releases.values() for vacancy in release.companions_due.values()]
    if state.operation is not None:
        coming = [run.settled_at for run in state.companions.values() if run.release == state.operation.release]
        found += [moment for moment in coming if moment is not None]
    return deadlines + [moment for moment in found if moment > now - _JUST]


def of(state: State, release: Release) -> list[CompanionRun]:
    """The release's companions that are there and not asked to end."""
    return [run for run in state.companions.values() if run.release == release.number and run.end is None]


def occupied(state: State, release: Release) -> set[Seat]:
    """The release's seats that somebody sits in."""
    return {run.seat for run in of(state, release)}


def seats(release: Release) -> list[Seat]:
    """All seats of the release."""
    return [(policy.name, number) for policy in release.plan.companions for number in range(policy.replicas)]


def policy_of(release: Release, seat: Seat) -> Companion:
    """What the configuration says about the seat's companion."""
    return next(policy for policy in release.plan.companions if policy.name == seat[0])
