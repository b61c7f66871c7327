"""Certificates from the user's own files: noticing a change, and reading the pair. Standard library only."""

from pathlib import Path

from fairlead.errors import FairleadError
from fairlead.https.model import CertificatePlan
from fairlead.lean_dataclass import dataclass

_SIZE_MAX = 1024 * 1024


def stamp(plan: CertificatePlan) -> str:
    """What changes when one of the two files does: their inodes, sizes and times. A missing file has a stamp too."""
    return " ".join(_stamp(Path(path)) for path in (plan.certificate_file, plan.key_file))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The bytes of the two files, or the error that reading them gave, and the stamp from just before."""

    stamp: str
    key: bytes = b""
    chain: bytes = b""
    error: str = ""


def load(plan: CertificatePlan) -> Loaded:
    """Reads the two files."""
    seen = stamp(plan)
    try:
        return Loaded(seen, _read(plan.key_file), _read(plan.certificate_file))
    except FairleadError as error:
        return Loaded(seen, error=str(error))


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or "?"
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_SIZE_MAX + 1)
    except OSError as error:
        raise FairleadError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _SIZE_MAX:
        raise FairleadError(f"cannot read {path}: it is larger than any certificate")
    return data
