"""How many CPUs this process may use: affinity, and the quotas of its cgroup and of those above it, v1 and v2."""

import os
from collections.abc import Iterator
from pathlib import Path

from fairlead.host.cgroups import lines, places


def usable_cpus(root: Path = Path("/"), affinity: int | None = None, process: int | None = None) -> float:
    """CPUs, 1.5 for a quota of one and a half. `root` is where /proc and the cgroup mounts are looked for.

    `process`: what that one may use, as far as it may be looked at; None: this one.
    """
    allowed = _affinity(process) if affinity is None else affinity
    return min([float(allowed), *_quotas(root, process)])


def _affinity(process: int | None) -> int:
    try:
        return len(os.sched_getaffinity(process or 0))
    except OSError:
        return len(os.sched_getaffinity(0))


def _quotas(root: Path, process: int | None) -> Iterator[float]:
    for place in places("cpu", root, process or "self"):
        quota = _quota_v2(place) or _quota_v1(place)
        if quota is not None:
            yield quota


def _quota_v2(folder: Path) -> float | None:
    limits = lines(folder / "cpu.max")
    quota, _, period = limits[0].partition(" ") if limits else ("max", "", "")
    return None if quota == "max" else int(quota) / int(period or 100_000)


def _quota_v1(folder: Path) -> float | None:
    quota, period = lines(folder / "cpu.cfs_quota_us"), lines(folder / "cpu.cfs_period_us")
    if not quota or not period or int(quota[0]) <= 0:
        return None
    return int(quota[0]) / int(period[0])
