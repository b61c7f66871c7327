"""Runs a row: A B C A B C, so that a machine that gets slower or busier gets so for everybody."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

from bench.budget import Plan
from bench.errors import BenchError
from bench.machine import Usage
from bench.peers import Server
from bench.row import Against, Aim, RowResult, Sample, Total, Values
from bench.session import Session
from bench.stats import Summary
from fairlead.testing.wire import LostError

_GIVE_UP = 2
"""Rounds without one figure after which a server is not tried again in a row: each may take the whole deadline of a start."""


def run(plan: Plan, session: Session, servers: Sequence[Server]) -> RowResult:
    """All rounds of a row. A measurement that cannot be taken is a gap with its cause, never the end of the run."""
    row, result = plan.row, RowResult(plan.row)
    for number in range(plan.rounds):
        reference: Values = {}
        if row.reference is not None:
            sample = _take(result, row.reference.name, number, partial(row.reference.measure, session))
            reference = sample.values if sample else {}
        for server in servers:
            if plan.measured(server.name, number) and not _given_up(result, server.name):
                _take(result, server.name, number, partial(row.measure, session, server, reference))
    return result


def _given_up(result: RowResult, name: str) -> bool:
    taken = result.samples.get(name, [])
    return len(taken) >= _GIVE_UP and not any(taken)


def _take(result: RowResult, name: str, number: int, measure: Callable[[], Sample]) -> Sample | None:
    before = Usage.now()
    sample: Sample | None = None
    try:
        sample = measure()
        text = "  ".join(f"{key} {statistics.median(runs):.4g}" for key, runs in sample.values.items() if runs)
    except (BenchError, LostError, OSError, subprocess.SubprocessError) as error:
        text = f"failed: {error}"
        result.failures.setdefault(name, []).append(str(error))
    result.samples.setdefault(name, []).append(sample)
    after = Usage.now()
    result.foreign.append(before.foreign_share(after))
    took = f"{after.wall - before.wall:.0f} s"
    print(f"{result.row.name}  round {number + 1}  {name} ({took}): {text}", file=sys.stderr, flush=True)
    return sample


def values(result: RowResult, name: str, key: str) -> list[float]:
    """Every run of a metric, over all rounds."""
    return [value for sample in result.samples.get(name, ()) if sample for value in sample.values.get(key, ())]


def by_round(result: RowResult, name: str, key: str) -> list[float | None]:
    """The median of a metric's runs in each round; None where there is none."""
    samples = [sample.values.get(key) if sample else None for sample in result.samples.get(name, ())]
    return [statistics.median(runs) if runs else None for runs in samples]


def summary(result: RowResult, name: str, key: str) -> Summary | None:
    """The summary of every run of a metric; None when there is none."""
    found = values(result, name, key)
    return Summary.of(found) if found else None


def figure(result: RowResult, name: str, key: str) -> float | None:
    """The one figure for a metric, as its `total` says."""
    metric = next(metric for metric in result.row.metrics if metric.key == key)
    found = summary(result, name, key)
    if found is None:
        return None
    return {Total.MEDIAN: found.median, Total.SUM: found.total, Total.LARGEST: found.high}[metric.total]


def ratio(result: RowResult, name: str, other: str, key: str) -> float | None:
    """The median over the rounds of: `name`'s median in the round over `other`'s in the same round."""
    pairs = zip(by_round(result, name, key), by_round(result, other, key), strict=False)
    ratios = [one / two for one, two in pairs if one is not None and two]
    return statistics.median(ratios) if ratios else None


def reached(result: RowResult, aim: Aim, ours: str) -> tuple[float | None, bool | None]:
    """The figure that an aim is about, and whether it is reached; None when it was not measured."""
    found: float | None
    if aim.against is Against.PEER:
        found = ratio(result, ours, aim.peer, aim.metric)
    elif aim.against is Against.OWN_MEDIAN:
        own = summary(result, ours, aim.metric)
        found = own.low / own.median if own else None
    else:
        found = figure(result, ours, aim.metric)
    if found is None:
        return None, None
    return found, found >= aim.limit if aim.at_least else found <= aim.limit
