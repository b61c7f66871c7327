"""The pages of files (libraries above all) that a process has mapped in."""

import ctypes
from collections.abc import Iterator

_MADV_DONTNEED = 4
_libc = ctypes.CDLL(None)


def let_go_of_files() -> None:
    """Takes the pages of mapped files that this process has only read out of its page table. They stay in the kernel's
    cache, and each comes back by itself, without a disk, when it is touched again.

    For a process that sleeps from now on: what only its beginnings needed no longer counts as its memory. A mapping
    that may be written to, or of which a page was (by the dynamic linker, say), is left alone: its pages are not the file's.
    """
    for start, end in list(_only_read()):
        # Best effort: a kernel that refuses leaves all as it is.
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _only_read() -> Iterator[tuple[int, int]]:
    """(start, end) of this process's private mappings of files that hold nothing but pages of their file."""
    place: tuple[int, int] | None = None
    try:
        # Line by line: the whole text would take more memory than some libraries give back.
        with open("/proc/self/smaps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                field, _, rest = line.partition(" ")
                if not field.endswith(":"):
                    place = _of_a_file(field, rest)
                elif place and field == "Anonymous:" and rest.split()[0] == "0":
                    yield place
    except OSError:
        return  # a kernel without it


def _of_a_file(addresses: str, rest: str) -> tuple[int, int] | None:
    """What the first line of a mapping says: its addresses, when it is a file's and cannot be written to."""
    permissions, _offset, _device, inode = rest.split()[:4]
    if permissions not in ("r-xp", "r--p") or inode == "0":
        return None
    start, _, end = addresses.partition("-")
    return int(start, 16), int(end, 16)
