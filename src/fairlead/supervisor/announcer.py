"""What the service manager is told: readiness, a status line, more time, and that we live. Pure."""

from enum import StrEnum

from fairlead.supervisor import rollout
from fairlead.supervisor.model import State, WorkerState
from fairlead.supervisor.turn import Turn

EXTEND_EVERY = 5.0
EXTENSION = 30.0
"""Seconds of patience asked for again and again while something is under way; it has deadlines of its own."""


class Phase(StrEnum):
    """What the service as a whole is at."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


_SAID = {
    Phase.STARTING: (),
    Phase.READY: ("READY=1",),
    Phase.RELOADING: ("RELOADING=1",),
    Phase.STOPPING: ("STOPPING=1",),
}


def phase_of(state: State) -> Phase:
    """READY only while a release serves and nothing is being changed."""
    if state.stopping is not None:
        return Phase.STOPPING
    if state.serving is None:
        return Phase.STARTING
    return Phase.READY if state.operation is None else Phase.RELOADING


def status_of(state: State, now: float) -> str:
    """One line for people: what is under way, what serves, what failed last."""
    if state.stopping is not None:
        return f"stopping: {state.stopping}; {len(state.workers)} workers are leaving"
    parts = []
    if state.operation is not None:
        parts.append(rollout.describe(Turn(state, now, 0.0), state.operation))
    if state.serving is not None:
        workers = sum(worker.state == WorkerState.SERVING for worker in state.workers_of(state.serving))
        parts.append(f"release {state.serving} serves with {workers} workers")
    if state.last_failure is not None:
        parts.append(state.last_failure)
    return " ".join("; ".join(parts).split())


class Announcer:
    """Remembers what was said, and says what is new. `watchdog`: seconds within which a sign of life is wanted."""

    def __init__(self, watchdog: float | None = None) -> None:
        self._watchdog = watchdog
        self._phase: Phase | None = None
        self._status = ""
        self._beat = self._extended = float("-inf")

    def news(self, state: State, now: float) -> list[str]:
        """The lines to send now; none when there is nothing new. `now`: monotonic seconds."""
        lines: list[str] = []
        phase, status = phase_of(state), status_of(state, now)
        if phase != self._phase:
            self._phase = phase
            lines += _SAID[phase]
            if phase == Phase.RELOADING:
                lines.append(f"MONOTONIC_USEC={int(now * 1e6)}")
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if phase != Phase.READY and now - self._extended >= EXTEND_EVERY:
            self._extended = now
            lines.append(f"EXTEND_TIMEOUT_USEC={int(EXTENSION * 1e6)}")
        if self._watchdog is not None and now - self._beat >= self._watchdog / 4:
            self._beat = now
            lines.append("WATCHDOG=1")
        return lines
