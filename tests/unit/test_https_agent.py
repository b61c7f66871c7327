"""One job of the certificate agent with an injected clock: certificates of the local authority and from files."""

import datetime
import re
import signal
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from fairlead.https import files
from fairlead.https.agent import Run, StoppedError, bounded
from fairlead.https.manager import Manager, StartAgent
from fairlead.https.model import CertificatePlan, HttpsPlan, Job, Result
from fairlead.https.pairs import split_pair
from fairlead.https.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def run(store: Store, job: Job, now: float) -> Result:
    loaded = files.load(job.certificate) if job.certificate.source == "files" else files.Loaded("")
    return Run(job, store, lambda _stage: None, lambda: now, 0.5, loaded).do()


def local(store: Store, *names: str, lifetime: float = 86400.0) -> HttpsPlan:
    return HttpsPlan(store=str(store.root), certificates=(CertificatePlan("internal", names),), leaf_lifetime=lifetime)


def test_local_certificate_is_issued_and_then_left_alone_until_it_is_due(store: Store) -> None:
    https, now = local(store, "localhost"), time.time()
    job = Job("obtain", https.certificates[0], https)
    first = run(store, job, now)
    assert (first.outcome, first.state.names, first.state.issuer) == (
        "obtained",
        ("localhost",),
        "Fairlead local authority",
    )
    assert run(store, job, now + 50_000).outcome == "unchanged"
    assert run(store, job, now + 60_000).outcome == "obtained"


def test_local_authority_signs_for_every_name_that_is_configured_whichever_comes_first(store: Store) -> None:
    plans = tuple(
        CertificatePlan("internal", names) for names in (("shop.example.com",), ("example.org", "198.51.100.1"))
    )
    https = HttpsPlan(store=str(store.root), certificates=plans)
    results = [run(store, Job("obtain", plan, https), time.time()) for plan in plans]
    assert [result.outcome for result in results] == ["obtained", "obtained"]


@pytest.mark.parametrize("jump", [-10 * 365 * 86400.0, 365 * 86400.0])
def test_clock_that_jumps_is_followed_by_one_new_certificate_at_most(store: Store, jump: float) -> None:
    https, now = local(store, "localhost"), time.time()
    job = Job("obtain", https.certificates[0], https)
    run(store, job, now)
    after = run(store, job, now + jump)
    assert after.outcome == ("obtained" if jump > 0 else "unchanged")
    assert run(store, job, now + jump + 1).outcome == "unchanged"


def test_certificate_of_seconds_is_renewed_in_time_again_and_again(store: Store) -> None:
    """Twenty seconds of validity, a manager that is asked as it wishes, and real certificates: there is always a good one."""
    https, now = local(store, "localhost", lifetime=20.0), float(int(time.time()))
    manager, serials = Manager(https, {}), set()
    for _ in range(200):
        for action in manager.tick(now):
            if isinstance(action, StartAgent):
                manager.agent_ended(action.job, run(store, action.job, now + 0.5), now + 1)
        leaf = split_pair(store.read_pair("internal/localhost")).leaf
        serials.add(leaf.serial_number)
        assert leaf.not_valid_before_utc.timestamp() <= now + 1 < leaf.not_valid_after_utc.timestamp()
        now += max(0.5, manager.wake_after(now))
        if len(serials) == 6:
            return
    pytest.fail(f"only {len(serials)} certificates")


def test_store_that_cannot_be_written_is_a_failure_before_anything_is_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    https = local(store, "localhost")

    def refuse(_self: Store, name: str, _data: bytes) -> None:
        raise files.FairleadError(f"cannot write {name}: Read-only file system")

    monkeypatch.setattr(Store, "write", refuse)
    result = run(store, Job("obtain", https.certificates[0], https), 1e9)
    assert result.outcome == "failed"
    assert "Read-only file system" in result.error
    assert result.state.failures == 1


def test_only_certificates_of_an_issuer_can_be_revoked(store: Store) -> None:
    https = local(store, "localhost")
    run(store, Job("obtain", https.certificates[0], https), time.time())
    result = run(store, Job("revoke", https.certificates[0], https), time.time())
    assert (result.outcome, result.error) == ("failed", "cannot revoke localhost: no issuer of https.issuers made it")


CA = trustme.CA()
WritePair = Callable[..., None]


@pytest.fixture
def https(tmp_path: Path, store: Store) -> HttpsPlan:
    plan = CertificatePlan("files", ("a.test",), str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    return HttpsPlan(store=str(store.root), certificates=(plan,))


@pytest.fixture
def write(tmp_path: Path) -> WritePair:
    def write(*names: str, key_of: str | None = None, **more: object) -> None:
        issued = CA.issue_cert(*names, **more)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        key = CA.issue_cert(key_of).private_key_pem if key_of else issued.private_key_pem
        (tmp_path / "cert.pem").write_bytes(chain)
        (tmp_path / "key.pem").write_bytes(key.bytes())

    return write


def take(store: Store, https: HttpsPlan, now: float | None = None) -> Result:
    return run(store, Job("obtain", https.certificates[0], https), now or time.time())


def test_pair_from_files_is_taken_and_again_when_it_changes(store: Store, https: HttpsPlan, write: WritePair) -> None:
    write("a.test", "b.test")
    first = take(store, https)
    assert (first.outcome, first.state.names) == ("obtained", ("a.test", "b.test"))
    assert take(store, https).outcome == "unchanged"
    write("a.test")
    second = take(store, https)
    assert (second.outcome, second.state.names) == ("obtained", ("a.test",))


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (lambda write, _https: write("a.test", key_of="a.test"), "it belongs to another private key"),
        (lambda write, _https: write("other.test"), "it is for other.test, not a.test"),
        (
            lambda write, _https: write("a.test", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
            "it expired on 2020",
        ),
        (lambda _write, https: Path(https.certificates[0].key_file).unlink(), r"^cannot read .*key.pem: No such file"),
        (
            lambda _write, https: Path(https.certificates[0].certificate_file).write_text("x"),
            r"/cert.pem: cannot use the certificate: Unable to load PEM file\. MalformedFraming$",
        ),
        (
            lambda _write, https: Path(https.certificates[0].key_file).write_text("x"),
            "/key.pem: cannot use the private key",
        ),
        (
            lambda _write, https: Path(https.certificates[0].key_file).write_bytes(encrypted_key()),
            "/key.pem: cannot use the private key: it has a passphrase",
        ),
    ],
    ids=["mismatch", "other-name", "expired", "missing", "no-certificate", "no-key", "passphrase"],
)
def test_bad_pair_leaves_the_old_one_and_says_so(
    store: Store, https: HttpsPlan, write: WritePair, bad: Callable[[WritePair, HttpsPlan], None], cause: str
) -> None:
    write("a.test")
    good = take(store, https)
    pair = store.read_pair(https.certificates[0].key)
    bad(write, https)
    result = take(store, https)
    assert result.outcome == "failed"
    assert re.search(cause, result.error)
    assert store.read_pair(https.certificates[0].key) == pair
    assert result.state.serial == good.state.serial
    assert take(store, https).outcome == "unchanged"
    write("a.test")
    assert take(store, https).outcome == "obtained"


@pytest.mark.parametrize("first", ["certificate", "key"])
def test_bundle_of_certificate_and_key_may_be_both_files(
    store: Store, https: HttpsPlan, write: WritePair, first: str
) -> None:
    write("a.test")
    paths = [Path(https.certificates[0].certificate_file), Path(https.certificates[0].key_file)]
    parts = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"Bag Attributes\n" + b"".join(parts if first == "certificate" else reversed(parts)))
    assert take(store, https).outcome == "obtained"
    assert take(store, https).outcome == "unchanged"
    pair = store.read_pair(https.certificates[0].key) or b""
    assert pair.count(b"PRIVATE KEY-----") == 2
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(store.pair_path(https.certificates[0].key))


def encrypted_key() -> bytes:
    key = serialization.load_pem_private_key(CA.issue_cert("a.test").private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_expired_pair_is_better_than_none(store: Store, https: HttpsPlan, write: WritePair) -> None:
    write("a.test")
    far = time.time() + 5000 * 365 * 86400.0
    assert take(store, https, far).outcome == "obtained"


def test_names_of_files_need_not_be_said(store: Store, https: HttpsPlan, write: WritePair) -> None:
    write("whatever.test")
    plan = replace(https.certificates[0], names=())
    result = take(store, replace(https, certificates=(plan,)))
    assert result.state.names == ("whatever.test",)


def test_work_is_ended_at_its_deadline_and_by_sigterm() -> None:
    with pytest.raises(StoppedError, match="no end within 0 seconds"), bounded(0.05):
        signal.pause()
    with pytest.raises(StoppedError, match="told to stop"), bounded(5.0):
        signal.raise_signal(signal.SIGTERM)
    with bounded(5.0):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
