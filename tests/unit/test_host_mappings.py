import ctypes
import mmap
from pathlib import Path

import pytest

from fairlead.host.mappings import let_go_of_files, only_read

SIZE = 64 * mmap.PAGESIZE


def resident(path: Path) -> int:
    """Bytes of the file that this process has in its page table."""
    inside, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        field, _, rest = line.partition(" ")
        if not field.endswith(":"):
            inside = line.endswith(str(path))
        elif inside and field == "Rss:":
            total += int(rest.split()[0]) * 1024
    return total


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests' threads may still be there; they load no library."""
    monkeypatch.setattr("fairlead.host.mappings.os.listdir", lambda _path: ["1"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a library of two words.so"
    path.write_bytes(b"x" * SIZE)
    return path


def test_pages_that_were_only_read_leave_and_come_back(file: Path) -> None:
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view,
    ):
        assert view[:] == b"x" * SIZE
        assert resident(file) == SIZE
        let_go_of_files()
        assert resident(file) == 0
        assert view[:] == b"x" * SIZE


@pytest.mark.parametrize("writable", [True, False])
def test_a_page_that_was_written_to_stays(file: Path, writable: bool) -> None:
    """The dynamic linker writes into a mapping and then forbids it: what it wrote is nowhere else."""
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), SIZE, flags=mmap.MAP_PRIVATE) as view:
        view[:1] = b"y"
        if not writable:
            address = ctypes.addressof(ctypes.c_char.from_buffer(view))
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), mmap.PROT_READ) == 0
        let_go_of_files()
        assert view[:2] == b"yx"
        assert resident(file) >= mmap.PAGESIZE


SMAPS = """\
1000-2000 r--p 00000000 08:01 7                    /usr/lib/lib a.so
Rss:                   4 kB
Anonymous:             0 kB
Swap:                  {swap} kB
Private_Hugetlb:       {huge} kB
VmFlags: rd mr mw me
3000-4000 r-xp 00001000 08:01 7                    /usr/lib/lib a.so
Anonymous:             0 kB
5000-6000 rw-p 00002000 08:01 7                    /usr/lib/lib a.so
Anonymous:             0 kB
7000-8000 r--p 00000000 00:00 0
Anonymous:             0 kB
"""


@pytest.mark.parametrize(
    ("swap", "huge", "found"),
    [(0, 0, [(0x1000, 0x2000), (0x3000, 0x4000)]), (8, 0, [(0x3000, 0x4000)]), (0, 2048, [(0x3000, 0x4000)])],
)
def test_pages_that_are_swapped_out_or_huge_are_not_the_files(swap, huge, found) -> None:
    assert list(only_read(SMAPS.format(swap=swap, huge=huge).splitlines())) == found
