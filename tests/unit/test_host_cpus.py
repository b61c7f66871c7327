from pathlib import Path

import pytest

from fairlead.host.cpus import usable_cpus


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
OTHER = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n34 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 4.0),
        ({"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": OTHER + V2}, 4.0),
        (
            {
                "proc/self/cgroup": "0::/system.slice/shop.service\n",
                "proc/self/mountinfo": OTHER + V2,
                "sys/fs/cgroup/system.slice/shop.service/cpu.max": "150000 100000\n",
            },
            1.5,
        ),
        (
            {
                "proc/self/cgroup": "0::/system.slice/shop.service\n",
                "proc/self/mountinfo": V2,
                "sys/fs/cgroup/system.slice/shop.service/cpu.max": "max 100000\n",
                "sys/fs/cgroup/system.slice/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/other.slice/cpu.max": "10000 100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n",
                "proc/self/mountinfo": OTHER + V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n",
                "proc/self/mountinfo": V1.replace(" / /sys", " /docker/abc /sys"),
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                "proc/self/mountinfo": V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/a\n0::/b\n",
                "proc/self/mountinfo": V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/unified/b/cpu.max": "250000 100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "0::/../outside\n",
                "proc/self/mountinfo": V2.replace("/sys/fs/cgroup", "/my\\040groups"),
                "my groups/cpu.max": "100000 100000\n",
                "outside/cpu.max": "10000 100000\n",
            },
            1.0,
        ),
        ({"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": "rubbish\n", "cpu.max": "1 2"}, 4.0),
    ],
    ids=[
        "no cgroups", "v2 root", "v2 own quota", "v2 quota above", "v1 quota", "v1 in a container", "v1 unlimited",
        "both versions", "outside of the namespace, escaped mount", "unreadable mounts",
    ],
)  # fmt: skip
def test_cpus_are_the_smallest_of_affinity_and_quotas(tmp_path, files, cpus):
    assert usable_cpus(make(tmp_path, files), affinity=4) == cpus


def test_cpus_never_exceed_the_affinity(tmp_path):
    files = {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/cpu.max": "800000 100000\n"}
    assert usable_cpus(make(tmp_path, files), affinity=2) == 2.0


def test_cpus_of_this_host_can_be_read():
    assert usable_cpus() > 0
