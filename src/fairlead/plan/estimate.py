"""`fairlead plan`, the arithmetic: from what one worker needs to how many fit. Pure; sizes in bytes, times in seconds."""

from fairlead.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """One start with one worker. `total`: all processes, shared pages once; `private`: the worker's own alone; `counted`: what
    the budget counts of the total, for programs and libraries that are only mapped can be read again from the disk."""

    import_seconds: float
    ready_seconds: float
    total: int
    private: int
    forks: bool
    counted: int


@dataclass(frozen=True, slots=True)
class Carried:
    """One worker under load. `cpu`: CPUs it used meanwhile; `failed`: answers with 400 and above, and none; `failure`: the last."""

    path: str
    requests: int
    seconds: float
    cpu: float
    failed: int
    failure: str = ""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def per_cpu(self) -> float:
        """Requests a second that a whole CPU would carry."""
        return self.rate / max(self.cpu, 0.01)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the measurements mean on a machine with `usable` bytes and `cpus`."""

    measured: Measured
    usable: int
    budget: int
    cpus: float
    wanted: int

    @property
    def shared(self) -> int:
        """All that does not grow with the number of workers."""
        return max(0, self.measured.total - self.measured.private)

    @property
    def fit(self) -> int:
        """How many workers fit into the budget; without one, into the machine."""
        left = (self.budget or self.usable) - max(0, self.measured.counted - self.measured.private)
        return max(0, left // max(self.measured.private, 1))

    @property
    def workers(self) -> int:
        """How many will run."""
        return min(self.wanted, self.fit)

    def total(self, workers: int) -> int:
        """What `workers` of them hold together."""
        return self.shared + workers * self.measured.private

    def bar(self, width: int) -> str:
        """The machine's memory: `#` shared, a digit for each worker's own (in turns), `.` free of the budget, `-` beyond it."""
        scale = width / max(self.usable, 1)
        cells = "#" * max(1, round(self.shared * scale))
        for worker in range(self.workers):
            upto = round(self.total(worker + 1) * scale)
            cells += str((worker + 1) % 10) * max(0, upto - len(cells))
        cells += "." * (round((self.budget or self.usable) * scale) - len(cells))
        return (cells + "-" * (width - len(cells)))[:width]


def machine_rate(carried: Carried, workers: int, cpus: float) -> float:
    """Requests a second that the machine would carry: an estimate, for nothing else runs and nothing is waited for."""
    return carried.per_cpu * min(workers, cpus)
