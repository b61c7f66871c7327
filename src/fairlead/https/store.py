"""The certificate store: a folder that holds keys, certificates and what is known of them. See `README_TEXT`.

Standard library only. Every file is written atomically (temp, fsync, rename, fsync of the folder) with mode 0600. What
cannot be read, or may be read by others, is an error and never an empty start.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import FairleadError
from fairlead.https.model import CertificateState, from_json, to_json

README_TEXT = """\
Fairlead's certificate store. Only its owner may read it; back it up like a password.

accounts/<issuer>/key.pem           the account's private key with that issuer
accounts/<issuer>/account.json      the account's address there and its contact
certificates/<source>/<name>/pair.pem    the private key and the chain in use, in one file so that they always match
certificates/<source>/<name>/state.json  validity, last error, next attempt
certificates/<source>/<name>/lock        held while a process works on that certificate
certificates/<source>/<name>/challenges/<token>  which of those below are this certificate's
challenges/<token>                  answers to HTTP-01 challenges under way
internal/root.pem, root-key.pem     the local certification authority
"""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_HALF = re.compile(r"\.[0-9a-f]{8}$")
"""How the name ends of a file that is being written; see `Store._replace`."""
_ROOM = 64 * 1024
"""Bytes that must be writable before an order is placed: more than a key, a chain and a state."""


class StoreError(FairleadError):
    """The store cannot be used."""


class Store:
    """A store whose folder belongs to `owner`. Reading and writing block: small files on a local disk."""

    def __init__(self, root: Path, owner: int | None = None) -> None:
        self.root = root
        self._owner = os.geteuid() if owner is None else owner

    @staticmethod
    def open(root: str | Path, owner: int | None = None) -> "Store":
        """The store in `root`, which is made when it is missing. Wrong owners and modes raise StoreError."""
        store = Store(Path(root), owner)
        try:
            if not store.root.exists():
                store._make_folder(store.root)
                store.write("README", README_TEXT.encode())
            elif not store.root.is_dir():
                raise StoreError(f"cannot use {store.root}: it is no folder")
            for folder in (store.root, *(path for path in sorted(store.root.rglob("*")) if path.is_dir())):
                store._check(folder, 0o700)
        except OSError as error:
            raise StoreError(f"cannot use {store.root}: {error.strerror}") from error
        return store

    # files

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None when there is none."""
        path = self.root / name
        try:
            self._check(path, 0o600)
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Writes a file as a whole: after a crash there is the old one or the new one."""
        path = self.root / name
        try:
            self._make_folder(path.parent)
            self._replace(path, data)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """Deletes a file; it may be gone already."""
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot delete {self.root / name}: {error.strerror}") from error

    def check_writable(self, folder: str) -> None:
        """Raises StoreError when a key, a chain and a state would not fit or may not be written. Under its lock."""
        name = f"{folder}/room"
        try:
            self.write(name, secrets.token_bytes(_ROOM))
        finally:
            with contextlib.suppress(StoreError):
                self.delete(name)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds the lock file `name`, and with it the right to write in its folder.

        Waits for as long as another process holds it: the caller has the deadline.
        """
        path = self.root / name
        try:
            self._make_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._delete_halves(path.parent)
            yield
        finally:
            os.close(descriptor)

    # certificates

    def state(self, key: str) -> CertificateState:
        """What is known of a certificate; an empty state when there is nothing."""
        data = self.read(f"certificates/{key}/state.json")
        if data is None:
            return CertificateState()
        try:
            return from_json(CertificateState, data.decode())
        except ValueError as error:
            path = self.root / "certificates" / key / "state.json"
            cause = error.__cause__ or error
            raise StoreError(f"cannot read {path}: {cause}; without the file it is worked out again") from error

    def check_certificate(self, key: str) -> None:
        """Raises StoreError when what there is of a certificate cannot be used: its state, or its pair's owner and mode."""
        self.state(key)
        with contextlib.suppress(FileNotFoundError):
            self._check(self.pair_path(key), 0o600)

    def write_state(self, key: str, state: CertificateState) -> None:
        """Remembers what is known of a certificate."""
        self.write(f"certificates/{key}/state.json", to_json(state).encode() + b"\n")

    def pair_path(self, key: str) -> Path:
        """Where a certificate's key and chain are."""
        return self.root / "certificates" / key / "pair.pem"

    def read_pair(self, key: str) -> bytes | None:
        """A certificate's key and chain, or None."""
        return self.read(f"certificates/{key}/pair.pem")

    def write_pair(self, key: str, pair: bytes) -> None:
        """Replaces a certificate's key and chain at once."""
        self.write(f"certificates/{key}/pair.pem", pair)

    def keys(self) -> list[str]:
        """All certificates there are, also those that the configuration no longer names."""
        folder = self.root / "certificates"
        return sorted(str(path.parent.relative_to(folder)) for path in folder.glob("*/*/state.json"))

    # challenges

    def challenge(self, token: str) -> bytes | None:
        """The answer to an HTTP-01 challenge, or None. Any text may be asked for: what is no token has no answer."""
        return self.read(f"challenges/{token}") if _TOKEN.fullmatch(token) else None

    def write_challenge(self, key: str, token: str, answer: str) -> None:
        """Has an HTTP-01 challenge of a certificate answered from now on, by every process that reads this store."""
        if not _TOKEN.fullmatch(token):
            raise StoreError(f"cannot answer a challenge: {token!r} is no token")
        # First whose it is: an agent that is killed in between leaves nothing that nobody knows of.
        self.write(f"certificates/{key}/challenges/{token}", b"")
        self.write(f"challenges/{token}", answer.encode())

    def delete_challenge(self, key: str, token: str) -> None:
        """Ends the answering of a challenge."""
        self.delete(f"challenges/{token}")
        self.delete(f"certificates/{key}/challenges/{token}")

    def delete_remains(self, key: str) -> None:
        """Ends what an attempt that was killed has left of a certificate. Only under the certificate's lock."""
        folder = self.root / "certificates" / key
        self._delete_halves(folder / "challenges")
        for path in sorted((folder / "challenges").glob("*")):
            self._delete_halves(self.root / "challenges", path.name)
            self.delete_challenge(key, path.name)
        self.delete(f"certificates/{key}/room")

    # the file system

    def _make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            # What is above the store is not ours to hide: the owner has to pass through.
            path.mkdir(mode=0o700 if path.is_relative_to(self.root) else 0o755, exist_ok=True)
            if path.is_relative_to(self.root):
                self._give(path)
            _sync_folder(path.parent)

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                self._give(descriptor)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _delete_halves(self, folder: Path, name: str = "*") -> None:
        """Deletes what a killed process was writing there (see `_replace`): it may be half of a private key."""
        for path in sorted(folder.glob(f".{name}.*")):
            if _HALF.search(path.name):
                self.delete(str(path.relative_to(self.root)))

    def _give(self, path: Path | int) -> None:
        """What root makes belongs to the owner all the same."""
        if self._owner != os.geteuid():
            os.chown(path, self._owner, -1)

    def _check(self, path: Path, mode: int) -> None:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise StoreError(f"cannot use {path}: it is a symbolic link")
        if found.st_uid != self._owner:
            raise StoreError(f"cannot use {path}: it belongs to user {found.st_uid}, not to {self._owner}")
        if found.st_mode & 0o077:
            raise StoreError(
                f"cannot use {path}: others may use it (mode {found.st_mode & 0o777:04o}); run `chmod {mode:o} {path}`"
            )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
