"""What the processes may have, and how many workers fit. Pure data and decisions; sizes in bytes."""

from fairlead.lean_dataclass import dataclass
from fairlead.units import parse_size

HORIZON = 8.0
"""Seconds of growth to keep room for: as long as replacing a worker takes, its drain included."""
UNKNOWN_NEED = 64 * 1024 * 1024
"""What a worker is taken to need before any was measured, when nothing better is known."""
_FAT = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """`preload`: auto, on or off. `budget` and `worker_limit` in bytes, 0: none. `gc`: tuned or default."""

    preload: str = "auto"
    budget: int = 0
    worker_limit: int = 0
    gc: str = "tuned"


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading. `private`: worker → its own memory; `rest`: templates, companions and the supervisor."""

    private: dict[int, int]
    rest: int

    @property
    def total(self) -> int:
        """What all processes hold together; shared pages count once."""
        return self.rest + sum(self.private.values())


def fitting(budget: int, rest: int, need: int) -> int:
    """How many workers of `need` bytes each fit beside `rest`; one runs in any case."""
    return max(1, (budget - rest) // max(need, 1))


def is_fat(private: int, need: int) -> bool:
    """Whether a worker holds so much more than a new one would that replacing it gives memory back."""
    return private > need * 1.25 + _FAT


def parse_budget(text: str, usable: int) -> int:
    """Bytes of `80%` (of what may be used) or of a size such as `4GB`; ValueError says what is allowed."""
    if text.endswith("%"):
        try:
            share = float(text[:-1]) / 100
        except ValueError:
            share = 0.0
        if not 0.01 <= share <= 1:
            raise ValueError(f"{text!r} is no share; allowed: 1% to 100%, or a size such as 4GB")
        return int(usable * share)
    return parse_size(text)
