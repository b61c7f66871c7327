"""Whether somebody else may read a folder: what a service's user will meet, told before the service exists."""

import os
import stat
from pathlib import Path


def closed_to(path: Path, uid: int | None, groups: tuple[int, ...] = ()) -> Path | None:
    """The first folder on the way to `path`, or `path` itself, that this user may not go into; None when all are open.

    `uid` None is a user that owns nothing and is in no group. OSError when something on the way is not there.
    """
    for folder in (*reversed(path.parents), path):
        status = folder.stat()
        if uid == 0:
            continue
        if status.st_uid == uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid in groups:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return folder
    return None


def mode_of(path: Path) -> str:
    """`drwx------`, as `ls -l` shows it."""
    return stat.filemode(os.stat(path).st_mode)
