"""How long a run takes: the estimate at its begin, and how far it has come."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bench.peers import FAIRLEAD
from bench.row import Row

MOST_QUICK = 180.0
"""Seconds that `scripts/bench --quick` may take by its estimate; a unit test holds the rows to it."""
MOST = 2400.0
"""The same for all of it."""
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """A row as it will be run."""

    row: Row
    servers: tuple[str, ...]
    rounds: int
    quick: bool

    def measured(self, server: str, number: int) -> bool:
        """Whether the server is measured in the round `number`, from 0."""
        return number < self.rounds and (server == FAIRLEAD.name or number < self.row.peer_rounds)

    @property
    def seconds(self) -> float:
        """What it takes about. The reference is counted as another server."""
        each = self.row.seconds[0] if self.quick else self.row.seconds[1]
        takes = sum(self.measured(server, number) for server in self.servers for number in range(self.rounds))
        return each * (takes + (self.rounds if self.row.reference else 0))


@dataclass(slots=True)
class Progress:
    """Elapsed time beside the estimate, row by row."""

    plans: tuple[Plan, ...]
    begin: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds since the begin."""
        return time.monotonic() - self.begin

    def fitting(self, number: int, limit: float) -> Plan:
        """The row `number`, with fewer rounds when at this pace the run would take longer than `limit` seconds; at least 3."""
        plan, past = self.plans[number], total(self.plans[:number])
        pace = max(1.0, self.elapsed() / past) if past else 1.0
        share = (limit - self.elapsed()) / (pace * total(self.plans[number:]))
        return replace(plan, rounds=min(plan.rounds, max(_FEWEST, int(plan.rounds * share))))

    def headline(self) -> str:
        """What will be done."""
        measurements = sum(len(plan.servers) * plan.rounds for plan in self.plans)
        return f"{len(self.plans)} rows, about {measurements} measurements, about {clock(total(self.plans))} minutes"

    def before(self, number: int, plan: Plan) -> str:
        """What stands before the row `number` of the plans, from 0, which is run as `plan`."""
        left = clock(total(self.plans[number:]))
        return (
            f"[{clock(self.elapsed())}] row {number + 1} of {len(self.plans)}: {plan.row.name}, "
            f"{plan.rounds} of {self.plans[number].rounds} rounds of {len(plan.servers)}, about {clock(plan.seconds)}; about {left} left"
        )


def total(plans: Iterable[Plan]) -> float:
    """Seconds of all of them."""
    return sum(plan.seconds for plan in plans)


def clock(seconds: float) -> str:
    """Minutes and seconds, as 12:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
