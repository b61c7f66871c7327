"""Puts a target's files in place, and never over what a person has changed."""

import contextlib
import difflib
from enum import StrEnum
from pathlib import Path
from stat import S_IMODE

from fairlead.errors import FairleadError
from fairlead.host.files import write_atomically
from fairlead.targets.model import File, is_ours, is_untouched


class Found(StrEnum):
    """What is there before writing."""

    MISSING = "missing"
    SAME = "unchanged"
    OLDER = "older"
    """Ours, as it was written: may be replaced."""
    EDITED = "changed by hand"
    FOREIGN = "not made by Fairlead"


def look(folder: Path, file: File) -> Found:
    """What is in the file's place. FairleadError when that cannot be read."""
    text = current(folder / file.path)
    if text is None:
        return Found.MISSING
    if text == file.marked:
        return Found.SAME
    if is_untouched(text):
        return Found.OLDER
    return Found.EDITED if is_ours(text) else Found.FOREIGN


def current(path: Path) -> str | None:
    """The text that is there; None when there is no file."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FairleadError(f"cannot read {path}: {error.strerror}") from error


def refuse_changed(folder: Path, files: list[File], force: bool) -> None:
    """FairleadError when a file in the way is not ours to replace; nothing has been written by then."""
    if force:
        return
    for file in files:
        found = look(folder, file)
        if found in (Found.EDITED, Found.FOREIGN):
            raise FairleadError(
                f"cannot write {folder / file.path}: the file there is {found}; allowed: --force to replace it, "
                "or take it away"
            )


def write(folder: Path, file: File) -> Found:
    """Writes a file unless it is there already; returns what was there before."""
    found = look(folder, file)
    if found is not Found.SAME:
        path = folder / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(str(path), file.marked.encode(), file.mode)
        except OSError as error:
            raise FairleadError(f"cannot write {path}: {error.strerror}") from error
    return found


def write_all(folder: Path, files: list[File]) -> dict[str, Found]:
    """Writes all files or, when one cannot be written, none: what was there is put back. What that was, by the files' paths."""
    before = {file.path: (current(folder / file.path), _mode(folder / file.path)) for file in files}
    done: dict[str, Found] = {}
    try:
        for file in files:
            done[file.path] = write(folder, file)
    except BaseException:
        for name, found in done.items():
            text, mode = before[name]
            with contextlib.suppress(OSError):
                if text is None:
                    (folder / name).unlink()
                elif found is not Found.SAME:
                    write_atomically(str(folder / name), text.encode(errors="surrogateescape"), mode)
        raise
    return done


def _mode(path: Path) -> int:
    try:
        return S_IMODE(path.stat().st_mode)
    except OSError:
        return 0o644


def difference(folder: Path, file: File) -> str:
    """What writing would change, as a unified diff; empty for nothing."""
    path = str(folder / file.path)
    there = current(folder / file.path)
    before = [] if there is None else there.splitlines(keepends=True)
    wanted = file.marked.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, wanted, path if before else "/dev/null", path))
