"""Medians, spreads and percentiles."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one metric of one server."""

    median: float
    low: float
    high: float
    total: float
    runs: int

    @staticmethod
    def of(values: Sequence[float]) -> "Summary":
        """The summary of at least one value."""
        return Summary(statistics.median(values), min(values), max(values), sum(values), len(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` percent of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]
