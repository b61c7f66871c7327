"""What a process's memory costs, from the kernel's own account."""

from pathlib import Path

from fairlead.host.cgroups import lines, places
from fairlead.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Bytes. `pss`: its fair share of shared pages included; `uss`: its own alone; `rss`: all that it has mapped in."""

    pss: int
    uss: int
    rss: int


def read_memory(pid: int | str, proc: Path = Path("/proc")) -> MemoryReading | None:
    """The reading of a process; None when it is gone or not ours to look at."""
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in text)}
    if "Pss" not in sizes:
        return None
    return MemoryReading(sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Rss"])


_NO_LIMIT = 1 << 60
"""v1 writes a number near 2**63 where there is no limit."""


def usable_memory(root: Path = Path("/"), process: int | str = "self") -> int:
    """Bytes that a process and its children may have: the machine's, or less by the limit of a cgroup, v1 or v2."""
    total = next(
        (int(line.split()[1]) * 1024 for line in lines(root / "proc/meminfo") if line.startswith("MemTotal:")), 0
    )
    limits = [total] if total else []
    for place in places("memory", root, process):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(place / name)
            if limit is not None and limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits, default=0)


def oom_files(root: Path = Path("/")) -> tuple[str, ...]:
    """The files that count the kernel's out-of-memory kills among us: nearest cgroup first, the whole machine last."""
    found = [place / name for place in places("memory", root) for name in ("memory.events", "memory.oom_control")]
    return tuple(str(path) for path in (*found, root / "proc/vmstat") if path.is_file())


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """Bytes: what a cgroup may have (None: no limit) and what it uses, page cache included."""

    limit: int | None
    used: int


def cgroup_memory(process: int | str = "self", root: Path = Path("/")) -> CgroupMemory | None:
    """The account of the process's nearest cgroup that keeps one, v1 or v2, with the tightest limit up to the root; None
    where there is none."""
    used, limits = None, []
    for place in places("memory", root, process):
        for use, most in (("memory.current", "memory.max"), ("memory.usage_in_bytes", "memory.limit_in_bytes")):
            amount, limit = _number(place / use), _number(place / most)
            used = amount if used is None else used
            limits += [limit] if limit is not None and limit < _NO_LIMIT else []
    return None if used is None else CgroupMemory(min(limits, default=None), used)


def _number(path: Path) -> int | None:
    text = lines(path)[:1]
    return int(text[0]) if text and text[0].isdigit() else None


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI: the share (0 to 1) of the last ten seconds in which something, or everything, waited for memory."""

    some: float
    full: float


def host_pressure(root: Path = Path("/")) -> Pressure | None:
    """The whole machine's; None where the kernel does not tell."""
    return _pressure(root / "proc/pressure/memory")


def cgroup_pressure(process: int | str = "self", root: Path = Path("/")) -> Pressure | None:
    """That of the process's own cgroup: v2 alone tells it. None where it is not told."""
    return next((found for place in places("memory", root, process) if (found := _pressure(place / _PRESSURE))), None)


def memory_pressure(process: int | str = "self", root: Path = Path("/")) -> float | None:
    """The share of the last ten seconds in which something of ours waited for memory: by the cgroup, else by the machine."""
    found = cgroup_pressure(process, root) or host_pressure(root)
    return found.some if found else None


_PRESSURE = "memory.pressure"


def _pressure(path: Path) -> Pressure | None:
    shares = {}
    for line in lines(path):
        kind, _, rest = line.partition(" avg10=")
        shares[kind] = float(rest.split(" ", 1)[0]) / 100 if rest else 0.0
    return Pressure(shares["some"], shares.get("full", 0.0)) if "some" in shares else None
