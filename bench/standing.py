"""Who is ahead of Fairlead, and in what: from the document, so that the README says it whether we like it or not."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.peers import FAIRLEAD

NOISE = 1.02
"""Closer than this, two servers are alike: medians of five rounds on an idle machine move by as much."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The peer that does best of those that do better than Fairlead in a metric of a row."""

    row: str
    metric: str
    peer: str
    theirs: str
    ours: str


def shown(found: dict[str, Any], metric: dict[str, Any]) -> str:
    """A figure for people. A sum is given for a round, because peers may have been measured in fewer of them."""
    level = level_of(found, metric)
    if metric["total"] != "sum" or level.is_integer():
        return f"{level:,.{metric['digits']}f}"
    return f"{max(0.1, level):,.1f}"  # a single loss must not look like none


def ahead(document: dict[str, Any]) -> list[Ahead]:
    """Where a peer is ahead, in the order of the rows and their metrics."""
    return [one for row in document["rows"] for metric in row["metrics"] for one in _in_metric(row, metric)]


def best(row: dict[str, Any], metric: dict[str, Any]) -> float | None:
    """The best figure of all servers; None when there are not two to compare."""
    levels = [level_of(found, metric) for _name, found in _figures(row, metric)]
    if len(levels) < 2:
        return None
    return max(levels) if metric["higher_is_better"] else min(levels)


def _in_metric(row: dict[str, Any], metric: dict[str, Any]) -> Iterator[Ahead]:
    figures = dict(_figures(row, metric))
    ours = figures.pop(FAIRLEAD.name, None)
    if ours is None or metric["neutral"]:
        return
    leads = {name: _lead(found, ours, metric) for name, found in figures.items()}
    if leads and (most := max(leads.values())) > NOISE:
        peer = next(name for name, lead in leads.items() if lead == most)
        yield Ahead(row["title"], metric["title"], peer, shown(figures[peer], metric), shown(ours, metric))


def _lead(theirs: dict[str, Any], ours: dict[str, Any], metric: dict[str, Any]) -> float:
    """How many times better the peer is; 1 where both are nought."""
    ratio = theirs["to_fairlead"] if metric["total"] == "median" else None
    if ratio is None:
        one, other = level_of(theirs, metric), level_of(ours, metric)
        if one == other:
            return 1.0
        ratio = one / other if other else float("inf")
    if metric["higher_is_better"]:
        return float(ratio)
    return 1 / ratio if ratio else float("inf")


def _figures(row: dict[str, Any], metric: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, server in row["servers"].items():
        if name != row["reference"] and (found := server["metrics"].get(metric["key"])):
            yield name, found


def level_of(found: dict[str, Any], metric: dict[str, Any]) -> float:
    """The figure that servers are compared by."""
    return statistics.fmean(found["runs"]) if metric["total"] == "sum" else float(found["figure"])
