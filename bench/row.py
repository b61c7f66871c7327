"""What a row of the benchmark is: what it measures, of whom, and what it has to reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench.peers import Server
from bench.session import Session

Values = Mapping[str, Sequence[float]]
"""What one measurement found: by metric, one value a run."""


class Total(StrEnum):
    """How the runs of all rounds become one figure."""

    MEDIAN = "median"
    SUM = "sum"
    LARGEST = "largest"


@dataclass(frozen=True, slots=True)
class Metric:
    """A column. `digits` behind the point; `plot`: worth a picture."""

    key: str
    title: str
    digits: int = 0
    higher_is_better: bool = False
    total: Total = Total.MEDIAN
    plot: bool = False
    neutral: bool = False
    """Says what was done, not how well: nobody wins by it."""


class Against(StrEnum):
    """What an aim compares Fairlead's figure with."""

    NOTHING = "the figure itself"
    PEER = "a peer's figure in the same round"
    OWN_MEDIAN = "its own median: the smallest run over it"


@dataclass(frozen=True, slots=True)
class Aim:
    """What Fairlead must reach: `metric` (over what `against` says) at least or at most `limit`."""

    metric: str
    limit: float
    at_least: bool
    text: str
    against: Against = Against.NOTHING
    peer: str = ""
    full_only: bool = False
    """--quick measures something smaller, which this aim is not about."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one server in one round. `notes`: what a reader should know, such as why a request was lost."""

    values: Values
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that is measured once in each round, that `measure` may compare with; a line of its own in the table."""

    name: str
    measure: Callable[[Session], Sample]


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `how` says in a sentence or two how each figure comes about. `measure` gets the round's reference values."""

    name: str
    title: str
    how: str
    metrics: tuple[Metric, ...]
    servers: tuple[Server, ...]
    measure: Callable[[Session, Server, Values], Sample]
    aims: tuple[Aim, ...] = ()
    reference: Reference | None = None
    quick_servers: tuple[Server, ...] | None = None
    """Who is measured with --quick; None: all."""
    most_rounds: int = 100
    """For a row whose rounds are long and alike."""
    quick_rounds: int = 1
    """0: --quick leaves the row out."""
    peer_rounds: int = 100
    """Peers are measured in the first so many rounds only: for what takes them long and hardly varies."""
    seconds: tuple[float, float] = (3.0, 5.0)
    """What one measurement of one server takes about, with --quick and without: for the estimate, and for its unit test."""


@dataclass(slots=True)
class RowResult:
    """All samples of a row: by server (or reference), one entry a round; None where the measurement failed."""

    row: Row
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)
    """The share of the machine others used, a value for each measurement."""
