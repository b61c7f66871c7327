"""Reads what the machine decides by: heartbeats, memory, and how busy everybody is."""

import time
from collections import deque

from fairlead.host.pages import resident
from fairlead.host.sockets import queued_connections
from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import Usage
from fairlead.observability.scoreboard import Column, Scoreboard
from fairlead.supervisor.events import Load, Tick
from fairlead.supervisor.listeners import Listeners
from fairlead.supervisor.model import State, WorkerState

_WINDOW = 0.45
"""Seconds over which a busy share is taken at least."""
_STALE = 1.0
"""Seconds. A loop that has not run for longer is busy, whatever it has published."""


@dataclass(frozen=True, slots=True)
class _Beat:
    """What a worker had published when its loop last ran: nanoseconds, all of them."""

    at: int
    cpu: int
    blocked: int


class Gauges:
    """Remembers the last reading of each worker, for what is a difference."""

    def __init__(self, scoreboard: Scoreboard, listeners: Listeners) -> None:
        self._scoreboard = scoreboard
        self._listeners = listeners
        self._beats: dict[int, deque[_Beat]] = {}
        self._busy: dict[int, float] = {}

    def read(self, state: State) -> Tick:
        """A tick with everything in it."""
        cell, cells = self._scoreboard.cell, self._scoreboard.cells
        beating = {one.id: one.slot for one in state.workers.values() if cells[cell(Column.WORKER, one.slot)] == one.id}
        heartbeats = {number: cells[cell(Column.HEARTBEAT, slot)] for number, slot in beating.items()}
        private = {number: cells[cell(Column.PRIVATE, slot)] for number, slot in beating.items()}
        usage, templates = self._weigh(state, private)
        return Tick(heartbeats, usage, templates, self._load(state, beating))

    def _weigh(self, state: State, private: dict[int, int]) -> tuple[Usage, dict[int, int]]:
        """What everybody holds: workers say it themselves, the others' counters are read."""
        templates = {
            one.id: resident(one.pid)[1] for one in state.templates.values() if one.pid is not None and not one.spare
        }
        rest = resident("self")[1] + sum(templates.values())
        for one in state.companions.values():
            if one.pid is not None:  # what a fork shares with its template is counted there
                rest += max(0, resident(one.pid)[1] - templates.get(one.template or 0, 0))
        return Usage(private, rest), templates

    def _load(self, state: State, beating: dict[int, int]) -> Load:
        """The busy share of every serving worker, over its last beats, and what waits to be accepted."""
        now, cell, cells = time.monotonic_ns(), self._scoreboard.cell, self._scoreboard.cells
        serving = {number for number in beating if state.workers[number].state == WorkerState.SERVING}
        for number in serving:
            slot = beating[number]
            beat = _Beat(*(cells[cell(column, slot)] for column in (Column.HEARTBEAT, Column.CPU, Column.BLOCKED)))
            beats = self._beats.setdefault(number, deque([beat]))
            if beat.at > beats[-1].at:
                beats.append(beat)
            while len(beats) > 2 and beat.at - beats[1].at >= _WINDOW * 1e9:
                beats.popleft()
            before = beats[0]
            if now - beat.at > _STALE * 1e9:
                self._busy[number] = 1.0
            elif beat.at > before.at:
                used = max(beat.cpu - before.cpu, beat.blocked - before.blocked) / (beat.at - before.at)
                self._busy[number] = min(1.0, used)
        self._beats = {number: self._beats[number] for number in serving}
        self._busy = {number: self._busy[number] for number in serving if number in self._busy}
        return Load(dict(self._busy), sum(map(queued_connections, self._listeners.sockets())))
