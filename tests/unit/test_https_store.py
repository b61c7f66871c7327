"""The certificate store on a real file system."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairlead.https.model import CertificateState
from fairlead.https.store import Store, StoreError

STATE = CertificateState(("a.test",), "One", not_before=1.0, not_after=2.5, blocked=(("https://one.test", 7.0),))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "deep/er/store")


def modes(store: Store) -> set[str]:
    return {oct(path.stat().st_mode & 0o777) for path in [store.root, *store.root.rglob("*")] if path.is_dir()}


def test_everything_is_for_the_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store.open(tmp_path / "store")
        store.write_pair("acme/a.test", b"key")
        with store.lock("certificates/acme/a.test/lock"):
            pass
    finally:
        os.umask(before)
    assert modes(store) == {"0o700"}
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}


def test_store_says_what_each_file_is(store: Store) -> None:
    assert b"pair.pem" in (store.read("README") or b"")


def test_state_and_pair_come_back_as_they_were_written(store: Store) -> None:
    assert (store.state("acme/a.test"), store.read_pair("acme/a.test")) == (CertificateState(), None)
    store.write_state("acme/a.test", STATE)
    store.write_pair("acme/a.test", b"pair")
    again = Store.open(store.root)
    assert (again.state("acme/a.test"), again.read_pair("acme/a.test")) == (STATE, b"pair")
    assert again.keys() == ["acme/a.test"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"names": 5}', '{"not_after": "soon"}', '{"unknown": 1}', "\x00"])
def test_state_that_cannot_be_read_is_an_error_and_no_empty_start(store: Store, text: str) -> None:
    store.write("certificates/acme/a.test/state.json", text.encode())
    with pytest.raises(StoreError, match=r"cannot read .*acme/a\.test/state\.json"):
        store.state("acme/a.test")


def test_file_that_others_may_read_is_an_error_with_what_to_do(store: Store) -> None:
    store.write_pair("acme/a.test", b"pair")
    store.pair_path("acme/a.test").chmod(0o640)
    with pytest.raises(StoreError, match=r"others may use it \(mode 0640\); run `chmod 600 /"):
        store.read_pair("acme/a.test")


def test_folder_that_others_may_enter_is_an_error(store: Store) -> None:
    store.write_pair("acme/a.test", b"pair")
    (store.root / "certificates").chmod(0o755)
    with pytest.raises(StoreError, match=r"certificates: others may use it"):
        Store.open(store.root)


def test_store_of_another_user_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="it belongs to user"):
        Store.open(store.root, owner=os.geteuid() + 1)


def test_file_in_the_place_of_the_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StoreError, match="store: it is no folder"):
        Store.open(tmp_path / "store")


def test_symbolic_link_is_an_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    store.write("challenges/a", b"x")
    (store.root / "challenges/b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="it is a symbolic link"):
        store.challenge("b")


def test_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_pair("acme/a.test", b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"cannot write .*pair\.pem: No space left on device"):
        store.write_pair("acme/a.test", b"new")
    monkeypatch.undo()
    assert store.read_pair("acme/a.test") == b"old"
    assert [path.name for path in store.pair_path("acme/a.test").parent.iterdir()] == ["pair.pem"]


def test_room_is_checked_without_leaving_anything(store: Store) -> None:
    with store.lock("certificates/acme/a.test/lock"):
        before = sorted(store.root.rglob("*"))
        store.check_writable("certificates/acme/a.test")
        assert sorted(store.root.rglob("*")) == before


@pytest.mark.parametrize("token", ["", ".", "..", "../README", "a/b", "a" * 129, "é", "a\0b", "%2e%2e"])
def test_what_is_no_token_has_no_answer(store: Store, token: str) -> None:
    assert store.challenge(token) is None
    with pytest.raises(StoreError, match="is no token"):
        store.write_challenge("acme/a.test", token, "x")


def test_challenge_is_answered_until_it_is_deleted(store: Store) -> None:
    store.write_challenge("acme/a.test", "tok_en-1", "tok_en-1.print")
    assert Store.open(store.root).challenge("tok_en-1") == b"tok_en-1.print"
    store.delete_challenge("acme/a.test", "tok_en-1")
    store.delete_challenge("acme/a.test", "tok_en-1")
    assert store.challenge("tok_en-1") is None


def test_challenges_left_behind_are_deleted_and_those_of_others_are_not(store: Store) -> None:
    for key, token in (("acme/a.test", "one"), ("acme/a.test", "two"), ("acme/b.test", "three")):
        store.write_challenge(key, token, "answer")
    store.delete_remains("acme/a.test")
    store.delete_remains("acme/never.test")
    assert [store.challenge(token) for token in ("one", "two", "three")] == [None, None, b"answer"]
    assert [path.name for path in store.root.glob("certificates/*/*/challenges/*")] == ["three"]
    assert Store.open(store.root).keys() == []


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from fairlead.https.store import Store
Path.replace = lambda half, whole: os.kill(os.getpid(), signal.SIGKILL) if whole.match(sys.argv[2]) else os.rename(half, whole)
store = Store.open(sys.argv[1])
store.write_challenge("acme/a.test", "token", "answer")
store.write_pair("acme/a.test", b"key")
"""


@pytest.mark.parametrize("name", ["certificates/*/*/challenges/token", "store/challenges/token", "pair.pem"])
def test_what_a_killed_process_was_writing_is_deleted_by_the_next_that_holds_the_lock(store: Store, name: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, store.root, name], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in store.root.rglob(".*") if path.is_file()] != []
    with store.lock("certificates/acme/a.test/lock"):
        store.delete_remains("acme/a.test")
    left = [str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()]
    assert sorted(left) == ["README", "certificates/acme/a.test/lock"]


def test_lock_holds_others_off_until_it_is_given_back(store: Store) -> None:
    entered, order = threading.Event(), []

    def second() -> None:
        with store.lock("certificates/acme/a.test/lock"):
            order.append("second")

    with store.lock("certificates/acme/a.test/lock"):
        thread = threading.Thread(target=lambda: (entered.set(), second()))
        thread.start()
        assert entered.wait(5)
        with (store.root / "certificates/acme/a.test/lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_store_in_a_place_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot (use|write|make) .*Not a directory"):
        Store.open(tmp_path / "file" / "store")
