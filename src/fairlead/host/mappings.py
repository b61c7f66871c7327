"""The pages of files (libraries above all) that a process has mapped in."""

import ctypes
import os
from collections.abc import Iterable, Iterator

_MADV_DONTNEED = 4
_libc = ctypes.CDLL(None)


_NOT_THE_FILES = ("Anonymous:", "Swap:", "Private_Hugetlb:", "Shared_Hugetlb:")
"""Pages that are nowhere else: written to, and in memory or swapped out, or huge ones."""


def let_go_of_files() -> None:
    """Takes the pages of mapped files that this process has only read out of its page table. They stay in the kernel's
    cache, and each comes back by itself, without a disk, when it is touched again.

    For a process that sleeps from now on: what only its beginnings needed no longer counts as its memory. A mapping
    that may be written to, or of which a page was (by the dynamic linker, say), is left alone: its pages are not the file's.
    Nothing is done beside other threads, which may be loading a library meanwhile.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        return
    try:
        # Line by line: the whole text would take more memory than some libraries give back.
        with open("/proc/self/smaps", encoding="utf-8", errors="surrogateescape") as file:
            places = list(only_read(file))
    except OSError:
        return  # a kernel without it
    for start, end in places:
        # Best effort: a kernel that refuses leaves all as it is.
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def only_read(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(start, end) of the private mappings of files that hold nothing but pages of their file. Source: proc_pid_smaps(5)."""
    place: tuple[int, int] | None = None
    for line in smaps:
        field, _, rest = line.partition(" ")
        if not field.endswith(":"):
            if place:
                yield place
            place = _of_a_file(field, rest)
        elif field in _NOT_THE_FILES and rest.split()[0] != "0":
            place = None
    if place:
        yield place


def _of_a_file(addresses: str, rest: str) -> tuple[int, int] | None:
    """What the first line of a mapping says: its addresses, when it is a file's and cannot be written to."""
    permissions, _offset, _device, inode = rest.split()[:4]
    if permissions not in ("r-xp", "r--p") or inode == "0":
        return None
    start, _, end = addresses.partition("-")
    return int(start, 16), int(end, 16)
