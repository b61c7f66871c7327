"""Files that must be whole after any crash."""

import os

from fairlead.errors import FairleadError


def write_atomically(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replaces the file: whoever reads it, at any moment and after any crash, reads the old or the new one. OSError."""
    temporary = f"{path}.{os.getpid()}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)  # whatever the umask
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def prepare_state_dir(path: str) -> None:
    """Makes the folder when it is missing. FairleadError when it cannot be had or others may write to it.

    Its mode is 0711: the certificate store in it may belong to the app's user, who has to pass through.
    """
    try:
        os.makedirs(path, mode=0o711, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        hint = "FAIRLEAD_STATE_DIR names another"
        raise FairleadError(f"cannot use the state directory {path}: {error.strerror}; {hint}") from error
    if status.st_mode & 0o002:
        raise FairleadError(
            f"cannot use the state directory {path}: everybody may write to it; allowed: 0755 or stricter"
        )
