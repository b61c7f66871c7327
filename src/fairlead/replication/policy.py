"""How many workers. Pure decisions."""

import math

from fairlead.lean_dataclass import dataclass

MAX_WORKERS = 512
_HALF_BAND = 0.2
_HIGHEST = 0.95


@dataclass(frozen=True, slots=True)
class ReplicationPolicy:
    """`workers`: the number the release starts with. `max` above 0: the number follows the load, from `workers` to `max`.

    `target`: the busy share of a worker that scaling aims at; the band around it is left alone. `calm`: seconds below
    the band before there is one worker less.
    """

    workers: int = 1
    max: int = 0
    target: float = 0.7
    calm: float = 30.0

    @property
    def scales(self) -> bool:
        """Whether the number follows the load."""
        return self.max > 0

    @property
    def band(self) -> tuple[float, float]:
        """The busy shares between which nothing changes; 50 to 90 % by default."""
        return max(0.05, self.target - _HALF_BAND), min(_HIGHEST, self.target + _HALF_BAND)

    def wanted(self, workers: int, busy: float) -> int:
        """How many workers would bring the busy share (0 to 1) of now `workers` to the target: at most double or half."""
        enough = math.ceil(workers * busy / self.target - 1e-9)
        return min(max(enough, self.workers, workers // 2), self.max, workers * 2)


def auto_workers(cpus: float) -> int:
    """One worker a usable CPU. A quota of 1.5 CPUs gives 2: the kernel shares them out, an idle half is lost."""
    return max(1, min(MAX_WORKERS, math.ceil(cpus - 0.05)))


def after_change(before: ReplicationPolicy, after: ReplicationPolicy, workers: int) -> int:
    """How many workers a new configuration has that takes over from `workers`.

    A number that was scaled, by hand or by load, stays unless the configuration itself says something new.
    """
    if after.scales:
        return min(max(workers, after.workers), after.max)
    return workers if (before.workers, before.scales) == (after.workers, False) else after.workers
