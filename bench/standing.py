"""Who is ahead of Fairlead, and in what: from the document, so that the README says it whether we like it or not."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.peers import FAIRLEAD

NOISE = 1.02
"""Closer than this, two servers are alike: medians of five rounds on an idle machine move by as much."""
_CONTRARY = 0.25
"""With this share of the rounds, or more, clearly against it, a lead is within the spread: nobody is ahead."""
_NEXT_TO_NOTHING = 0.01


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one server did beside another in a metric. `lead`: how many times better. `sure`: not by the spread alone."""

    lead: float
    sure: bool
    ratios: tuple[float, ...]
    """The one's figure over the other's, in each round that both were measured in; smallest first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The peer that does best of those that do better than Fairlead in a metric of a row, or seem to: see `even`."""

    row: str
    metric: str
    peer: str
    told: str
    even: bool
    """Better in the median only, within the spread of the rounds."""


def shown(found: dict[str, Any], metric: dict[str, Any]) -> str:
    """A figure for people. A sum is given for a round, because peers may have been measured in fewer of them."""
    level = level_of(found, metric)
    if metric["total"] != "sum" or level.is_integer():
        return f"{level:,.{metric['digits']}f}"
    return f"{max(0.1, level):,.1f}"  # a single loss must not look like none


def standings(document: dict[str, Any]) -> list[Standing]:
    """Where a peer is ahead or, by the median alone, seems to be; in the order of the rows and their metrics."""
    return [one for row in document["rows"] for metric in row["metrics"] for one in _in_metric(row, metric)]


def best(row: dict[str, Any], metric: dict[str, Any]) -> set[str]:
    """Who has the best figure, and those whom that one is not ahead of; nobody when there are not two to compare."""
    figures = dict(_figures(row, metric))
    if len(figures) < 2:
        return set()
    levels = {name: level_of(found, metric) for name, found in figures.items()}
    top = (max if metric["higher_is_better"] else min)(levels, key=lambda name: levels[name])
    return {name for name, found in figures.items() if not _is_ahead(compare(figures[top], found, metric))}


def compare(one: dict[str, Any], other: dict[str, Any], metric: dict[str, Any]) -> Comparison:
    """`one` beside `other`, of the same metric and row."""
    pairs = [pair for pair in zip(one["rounds"], other["rounds"], strict=False) if None not in pair]
    ratios = sorted(first / second for first, second in pairs if second)
    if metric["total"] == "median" and ratios:
        ratio = statistics.median(ratios)
    else:
        ratio = _over(level_of(one, metric), level_of(other, metric))
    contrary = sum(_lead(_over(second, first), metric) > NOISE for first, second in pairs)
    return Comparison(_lead(ratio, metric), contrary == 0 or contrary < _CONTRARY * len(pairs), tuple(ratios))


def _over(one: float, other: float) -> float:
    if one == other:
        return 1.0
    return one / other if other else float("inf")


def _lead(ratio: float, metric: dict[str, Any]) -> float:
    """How many times better it is what is `ratio` times the other."""
    return ratio if metric["higher_is_better"] else _over(1.0, ratio)


def _is_ahead(comparison: Comparison) -> bool:
    return comparison.lead > NOISE and comparison.sure


def _in_metric(row: dict[str, Any], metric: dict[str, Any]) -> Iterator[Standing]:
    figures = dict(_figures(row, metric))
    ours = figures.pop(FAIRLEAD.name, None)
    if ours is None or metric["neutral"]:
        return
    found = {name: compare(figure, ours, metric) for name, figure in figures.items()}
    better = {name: one for name, one in found.items() if one.lead > NOISE}
    sure = {name: one for name, one in better.items() if one.sure}
    if not better:
        return
    peer = max(sure or better, key=lambda name: better[name].lead)
    told = _told(figures[peer], ours, metric, better[peer])
    yield Standing(row["title"], metric["title"], peer, told, even=not sure)


def _told(theirs: dict[str, Any], ours: dict[str, Any], metric: dict[str, Any], found: Comparison) -> str:
    """The ratio that the verdict comes from; the figures, where it comes from those, or where one is next to nothing."""
    ratio = statistics.median(found.ratios) if found.ratios else 0.0
    if metric["total"] != "median" or ratio < _NEXT_TO_NOTHING:
        each = " a round" if metric["total"] == "sum" else ""
        return f"{shown(theirs, metric)}, ours {shown(ours, metric)}{each}"
    low, high = found.ratios[0], found.ratios[-1]
    spread = f"{low:.2f}–{high:.2f}" if len(found.ratios) > 1 else "one round"
    return f"{ratio:.2f} × ours ({spread})"


def _figures(row: dict[str, Any], metric: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, server in row["servers"].items():
        if name != row["reference"] and (found := server["metrics"].get(metric["key"])):
            yield name, found


def level_of(found: dict[str, Any], metric: dict[str, Any]) -> float:
    """The figure that servers are compared by."""
    return statistics.fmean(found["runs"]) if metric["total"] == "sum" else float(found["figure"])
