"""What a process's memory costs, from the kernel's own account."""

from dataclasses import dataclass
from pathlib import Path

from fairlead.host.cgroups import lines, places


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


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that this process and its children may have: the machine's, or less by the limit of a cgroup, v1 or v2."""
    total = next(
        (int(line.split()[1]) * 1024 for line in lines(root / "proc/meminfo") if line.startswith("MemTotal:")), 0
    )
    limits = [total] if total else []
    for place in places("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = lines(place / name)[:1]
            if text and text[0].isdigit() and int(text[0]) < _NO_LIMIT:
                limits.append(int(text[0]))
    return min(limits, default=0)


def oom_files(root: Path = Path("/")) -> tuple[str, ...]:
    """The files that count the kernel's out-of-memory kills among us: nearest cgroup first, the whole machine last."""
    found = [place / name for place in places("memory", root) for name in ("memory.events", "memory.oom_control")]
    return tuple(str(path) for path in (*found, root / "proc/vmstat") if path.is_file())


def memory_pressure(root: Path = Path("/")) -> float | None:
    """The share of the last ten seconds in which something waited for memory (PSI), 0 to 1; None where the kernel does not tell."""
    for line in lines(root / "proc/pressure/memory"):
        if line.startswith("some avg10="):
            return float(line.split()[1].removeprefix("avg10=")) / 100
    return None
