import os

import pytest

from fairlead.host.memory import (
    CgroupMemory,
    Pressure,
    cgroup_memory,
    cgroup_pressure,
    host_pressure,
    memory_pressure,
    oom_files,
    usable_memory,
)
from fairlead.host.pages import OomCounter, resident


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"
V1 = "33 24 0:28 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n"
MACHINE = {"proc/meminfo": "MemTotal:  4000 kB\nMemFree: 1 kB\n"}


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({}, 4000 * 1024),
        (
            {"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/a/memory.max": "1000000\n"},
            1000000,
        ),
        (
            {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/a/memory.max": "max\n"},
            4000 * 1024,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/a\n",
                "proc/self/mountinfo": V1,
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            2000000,
        ),
    ],
)
def test_usable_memory_is_the_machines_or_the_cgroups(tmp_path, files, size):
    assert usable_memory(write(tmp_path, MACHINE | files)) == size


def test_resident_counts_what_a_process_holds_and_nothing_for_one_that_is_gone():
    before = resident("self")[1]
    held = bytearray(os.urandom(1)) * 30_000_000
    total, anonymous = resident(os.getpid())
    assert anonymous - before > 25_000_000
    assert total >= anonymous
    del held
    assert resident(2**22 + 1) == (0, 0)


def test_out_of_memory_kill_is_noticed_once(tmp_path):
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 1\noom_kill 2\noom_group_kill 0\n")
    counter = OomCounter((str(path), str(tmp_path / "none")))
    assert counter.killed() is None
    path.write_text("low 0\noom 2\noom_kill 3\n")
    assert counter.killed() == str(path)
    assert counter.killed() is None


def test_counters_of_this_host_are_found_and_read():
    files = oom_files()
    assert files
    assert OomCounter(files).killed() is None


PSI = "some avg10={} avg60=0.00 avg300=0.00 total=1\nfull avg10=2.00 avg60=0.00 avg300=0.00 total=1\n"


def test_pressure_is_the_cgroups_or_the_machines_or_not_known(tmp_path):
    assert memory_pressure(root=tmp_path) is host_pressure(tmp_path) is cgroup_pressure(root=tmp_path) is None
    write(tmp_path, {"proc/pressure/memory": PSI.format("12.50")})
    assert host_pressure(tmp_path) == Pressure(some=0.125, full=0.02)
    assert memory_pressure(root=tmp_path) == 0.125
    write(tmp_path, {"proc/7/cgroup": "3:memory:/a\n0::/b\n", "proc/self/mountinfo": V1 + V2})
    write(tmp_path, {"sys/fs/cgroup/b/memory.pressure": PSI.format("50.00")})
    assert cgroup_pressure(7, tmp_path) == Pressure(some=0.5, full=0.02)
    assert memory_pressure(7, tmp_path) == 0.5


@pytest.mark.parametrize(
    ("cgroup", "files", "account"),
    [
        ("0::/a/b\n", {"a/b/memory.current": "7", "a/b/memory.max": "max", "a/memory.max": "9"}, CgroupMemory(9, 7)),
        (
            "3:memory:/a\n0::/x\n",
            {"memory/a/memory.usage_in_bytes": "5", "memory/a/memory.limit_in_bytes": "9223372036854771712"},
            CgroupMemory(None, 5),
        ),
        ("0::/\n", {}, None),
    ],
)
def test_cgroups_account_is_read_in_either_version(tmp_path, cgroup, files, account):
    write(tmp_path, {"proc/7/cgroup": cgroup, "proc/self/mountinfo": V1 + V2})
    write(tmp_path, {f"sys/fs/cgroup/{name}": f"{text}\n" for name, text in files.items()})
    assert cgroup_memory(7, tmp_path) == account
