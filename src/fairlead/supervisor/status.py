"""What `fairlead status` shows, as plain JSON values."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from fairlead import __version__
from fairlead.observability.scoreboard import Scoreboard
from fairlead.supervisor import memory, rollout
from fairlead.supervisor.model import CompanionRun, Release, State, Worker
from fairlead.supervisor.turn import Turn
from fairlead.units import format_duration


def report(
    state: State, scoreboard: Scoreboard, listeners: list[str], *, pid: int, started: float, now: float, wall: datetime
) -> dict[str, Any]:
    """`now` and `started` are monotonic seconds, `wall` is the same moment as `now`; every duration is in seconds."""

    def at(moment: float) -> str:
        return (wall.astimezone(UTC) - timedelta(seconds=now - moment)).isoformat(timespec="milliseconds")

    serving = state.releases.get(state.serving) if state.serving is not None else None
    named = serving or next(iter(state.releases.values()), None)
    return {
        "name": named.plan.name if named else None,
        "pid": pid,
        "version": __version__,
        "uptime": round(now - started, 3),
        "cwd": named.plan.cwd if named else None,
        "release": {"number": serving.number, "state": "serving", "started": at(serving.started)} if serving else None,
        "releases": [_release(state, release) for release in state.releases.values()],
        "target_workers": state.target,
        "listeners": listeners,
        "workers": [
            _worker(worker, scoreboard, now) for worker in sorted(state.workers.values(), key=lambda w: w.slot)
        ],
        "memory_budget": memory.report(state),
        "companions": [
            *(_companion(run, now) for run in state.companions.values()),
            *(_empty_seats(serving, now) if serving else ()),
        ],
        "restarts": [
            {
                "time": at(item.at),
                "worker": item.worker,
                "companion": item.companion or None,
                "release": item.release,
                "reason": item.reason,
            }
            for item in state.restarts
        ],
        "restarts_total": state.restarts_total,
        "operation": rollout.describe(Turn(state, now, 0.0), state.operation) if state.operation else state.stopping,
        "last_failure": state.last_failure,
    }


def _release(state: State, release: Release) -> dict[str, Any]:
    if release.number == state.serving:
        kind = "serving"
    elif state.operation is not None and state.operation.release == release.number:
        kind = "starting"
    else:
        kind = "parked" if release.parked_until is not None else "leaving"
    return {
        "number": release.number,
        "state": kind,
        "mode": "fresh" if release.fresh else "fork",
        "template_pid": release.template.pid if release.template else None,
        "spare_pid": release.spare.pid if release.spare else None,
        "workers": len(state.workers_of(release.number)),
    }


def _companion(run: CompanionRun, now: float) -> dict[str, Any]:
    state = "stopping" if run.end is not None else "starting" if run.pid is None else "running"
    return {
        "name": run.name,
        "replica": run.replica,
        "pid": run.pid,
        "release": run.release,
        "state": state,
        "age": round(now - run.born, 3),
        "deaths_in_a_row": run.deaths,
        "note": run.end or "",
    }


def _empty_seats(release: Release, now: float) -> Iterator[dict[str, Any]]:
    """Companions that nobody is there for: those that wait to be started again, and those that have ended for good."""
    nobody = {"pid": None, "release": release.number, "age": None}
    for (name, replica), vacancy in release.companions_due.items():
        note = f"again in {format_duration(max(0.0, vacancy.at - now))}"
        yield {
            "name": name,
            "replica": replica,
            **nobody,
            "state": "waiting",
            "deaths_in_a_row": vacancy.deaths,
            "note": note,
        }
    for seat in sorted(release.companions_ended):
        failure = release.companions_failed.get(seat, "")
        state = "failed" if failure else "done"
        yield {"name": seat[0], "replica": seat[1], **nobody, "state": state, "deaths_in_a_row": 0, "note": failure}


def _worker(worker: Worker, scoreboard: Scoreboard, now: float) -> dict[str, Any]:
    reading = scoreboard.read(worker.slot)
    mine = reading.worker == worker.id
    heartbeat = now - reading.heartbeat_ns / 1e9 if mine and reading.heartbeat_ns else None
    return {
        "slot": worker.slot,
        "worker": worker.id,
        "pid": worker.pid,
        "release": worker.release,
        "state": str(worker.state),
        "age": round(now - worker.born, 3),
        "connections": reading.connections if mine else 0,
        "websockets": reading.websockets if mine else 0,
        "in_flight": reading.in_flight if mine else 0,
        "requests": reading.requests if mine else 0,
        "errors": reading.errors if mine else 0,
        "accepted": reading.accepted if mine else 0,
        "cpu_seconds": round(reading.cpu_ns / 1e9, 3) if mine else 0.0,
        "heartbeat_age": round(max(0.0, heartbeat), 3) if heartbeat is not None else None,
    }
