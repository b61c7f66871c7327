import os

from fairlead.host.memory import MemoryReading, read_memory

ROLLUP = """\
55d0c0000000-7ffd00000000 ---p 00000000 00:00 0                          [rollup]
Rss:               12000 kB
Pss:                5000 kB
Pss_Dirty:          3000 kB
Shared_Clean:       7000 kB
Private_Clean:      1000 kB
Private_Dirty:      2000 kB
"""


def test_memory_is_read_from_the_rollup(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/smaps_rollup").write_text(ROLLUP)
    assert read_memory(7, tmp_path) == MemoryReading(pss=5_120_000, uss=3_072_000, rss=12_288_000)


def test_memory_of_this_process_is_sensible():
    reading = read_memory(os.getpid())
    assert 1_000_000 < reading.uss <= reading.pss <= reading.rss


def test_memory_of_a_process_that_is_gone_is_none(tmp_path):
    assert read_memory(7, tmp_path) is None


def test_memory_of_a_process_that_is_ending_is_none(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/smaps_rollup").write_text("")
    assert read_memory(7, tmp_path) is None
