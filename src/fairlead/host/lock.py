"""One instance of a name: a lock file that the kernel releases with its holder."""

import fcntl
import os

from fairlead.errors import FairleadError


def prepare_runtime_dir(path: str) -> None:
    """Makes the runtime directory (0700) when it is missing. FairleadError when it is not ours or open to others."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        raise FairleadError(f"cannot use the runtime directory {path}: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise FairleadError(
            f"cannot use the runtime directory {path}: it belongs to another user (uid {status.st_uid})"
        )
    if status.st_mode & 0o022:
        raise FairleadError(
            f"cannot use the runtime directory {path}: others may write to it; allowed: mode 0755 or stricter"
        )


def take_lock(path: str, name: str) -> int:
    """Takes the instance's lock and writes our pid into it; the descriptor keeps it. FairleadError when it is taken."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FairleadError(f"cannot use the lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise FairleadError(
            f"cannot start: an instance named {name!r} already runs (pid {holder}); give this one another --name"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
