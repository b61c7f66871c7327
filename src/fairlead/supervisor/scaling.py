"""As many workers as the load takes: grows at once, shrinks after a calm time, never flaps, never bursts the memory budget."""

import math

from fairlead.replication.policy import ReplicationPolicy
from fairlead.supervisor import memory
from fairlead.supervisor.events import Load
from fairlead.supervisor.model import State, WorkerState
from fairlead.supervisor.turn import Turn

EVERY = 0.25
"""Seconds between two looks at the load."""
HOT = 0.25
"""Seconds above the band before there is one worker more: two readings."""
SETTLE = 1.0
"""Seconds after a change in which the new workers find their share of the load."""
_SMOOTH = 1.0
"""Seconds over which the busy share is averaged."""


def tick(turn: Turn, load: Load | None) -> None:
    """Looks at the load, and changes the number of workers when it is time."""
    state = turn.state
    if load is None or state.serving is None or state.changing:
        return
    policy = state.releases[state.serving].plan.replication
    if policy.scales:
        _observe(turn, policy, load)
        _decide(turn, policy)


def _observe(turn: Turn, policy: ReplicationPolicy, load: Load) -> None:
    scaling = turn.state.scaling
    elapsed = turn.now - scaling.at if scaling.at is not None else _SMOOTH
    shares = list(load.busy.values())
    busy = sum(shares) / len(shares) if shares else 0.0
    scaling.busy += (1 - math.exp(-elapsed / _SMOOTH)) * (busy - scaling.busy)
    scaling.queued, scaling.at = load.queued, turn.now
    low, high = policy.band
    hot = busy > high or load.queued > len(shares)
    scaling.hot_since = (scaling.hot_since or turn.now) if hot else None
    calm = scaling.busy < low and not load.queued
    scaling.calm_since = (scaling.calm_since or turn.now) if calm else None
    if hot:
        scaling.busy = max(scaling.busy, busy)  # what rises is believed at once, what falls is not


def _decide(turn: Turn, policy: ReplicationPolicy) -> None:
    state, scaling = turn.state, turn.state.scaling
    if turn.now - scaling.changed_at < SETTLE or _changing(state):
        return
    wanted = policy.wanted(state.target, scaling.busy)
    if scaling.hot_since is not None and turn.now - scaling.hot_since >= HOT:
        wanted = min(max(wanted, state.target + 1), policy.max)
        release = state.releases[state.serving or 0]
        _change(turn, state.target + memory.room(turn, release, wanted - state.target))
    elif scaling.calm_since is not None and turn.now - scaling.calm_since >= policy.calm and wanted < state.target:
        _change(turn, wanted)


def _changing(state: State) -> bool:
    """Whether the last change is still under way."""
    coming = (WorkerState.FORKING, WorkerState.STARTING, WorkerState.READY)
    return any(worker.state in coming for worker in state.workers.values())


def _change(turn: Turn, workers: int) -> None:
    state, scaling = turn.state, turn.state.scaling
    if workers == state.target:
        return
    name = "scale.up" if workers > state.target else "scale.down"
    figures = {"busy": f"{scaling.busy:.0%}", "queued": scaling.queued}
    turn.log("info", name, workers=workers, before=state.target, **figures)
    state.target, scaling.changed_at, scaling.calm_since, scaling.hot_since = workers, turn.now, None, None
    if state.operation is not None:
        state.operation.target = workers
