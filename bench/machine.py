"""The machine a run happened on, and how much of it others used meanwhile."""

import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

BUSY = 0.08
"""The share of the machine that others may use before a figure is marked as taken on a busy machine."""


def describe() -> dict[str, str]:
    """What a reader needs to know to compare: no names, no addresses."""
    cpus = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} × {cpus[0] if cpus else platform.machine()}",
        "memory": f"{int(memory) / 1e6:.0f} GB",
        "kernel": platform.release(),
        "virtual": "yes" if any("hypervisor" in line for line in _lines("/proc/cpuinfo")) else "no",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _commit(),
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """A reading: wall clock, CPU seconds used by everybody, and by us with all children we have waited for."""

    wall: float
    everybody: float
    ours: float

    @staticmethod
    def now() -> "Usage":
        """A reading. Interrupts are left out: on loopback they are ours, but the kernel does not say whose. What the
        host of a virtual machine took from it (steal) was used by others, too."""
        user, nice, system, _idle, _iowait, _irq, _softirq, steal, *_ = map(int, _lines("/proc/stat")[0].split()[1:])
        everybody = user + nice + system + steal
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ticks = os.sysconf("SC_CLK_TCK")
        return Usage(time.monotonic(), everybody / ticks, sum(use.ru_utime + use.ru_stime for use in mine))

    def foreign_share(self, later: "Usage") -> float:
        """The share of the machine (0 to 1) that neither we nor our ended children used between the two readings."""
        foreign = (later.everybody - self.everybody) - (later.ours - self.ours)
        return max(0.0, foreign / (later.wall - self.wall) / (os.cpu_count() or 1))


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
