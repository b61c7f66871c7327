"""TLS in forked workers, with real sockets: names, renewals, resumption, client certificates."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
import uvloop

from fairlead.errors import FairleadError
from fairlead.https import internal_ca
from fairlead.https.model import CertificatePlan, HttpsPlan, TlsPlan
from fairlead.https.store import Store
from fairlead.https.tls import Certificates, distinguished_name, make_context


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def plan_of(store: Store, *groups: tuple[str, ...], **tls: str) -> HttpsPlan:
    certificates = tuple(CertificatePlan("internal", names) for names in groups)
    return HttpsPlan(store=str(store.root), certificates=certificates, tls=TlsPlan(**tls))


def issue(store: Store, https: HttpsPlan) -> None:
    """A fresh certificate for each of the plan, as the agent leaves it in the store."""
    every = [name for plan in https.certificates for name in plan.names]
    internal_ca.root(store, every, time.time())
    for plan in https.certificates:
        pair = internal_ca.issue(store, plan.names, 3600.0, time.time())
        store.write_pair(plan.key, pair.pem)
        store.write_state(plan.key, pair.describe(store.state(plan.key)))


def client_context(store: Store) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(store.root / internal_ca.ROOT))
    context.check_hostname = False
    return context


class Worker:
    """A forked process that accepts on an inherited socket, and answers each line: `pid`, `swap`, or the extension."""

    def __init__(self, certificates: Certificates, store: Store, listener: socket.socket) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                certificates.load(store)
                self._serve(certificates, store, listener)
            finally:
                os._exit(0)

    def _serve(self, certificates: Certificates, store: Store, listener: socket.socket) -> None:
        while True:
            plain, _address = listener.accept()
            with contextlib.suppress(OSError), plain:
                plain.settimeout(5)
                with certificates.base.wrap_socket(plain, server_side=True) as connection:
                    while line := connection.recv(100):
                        if line == b"swap":
                            certificates.load(store)
                        answer = f"{os.getpid()} {certificates.extension(connection)}"
                        connection.sendall(answer.encode())

    def stop(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@contextlib.contextmanager
def workers(https: HttpsPlan, store: Store, count: int = 1) -> Iterator[list[int]]:
    """The ports of `count` workers forked from this process, which made the base context."""
    certificates = Certificates(https)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    running = [Worker(certificates, store, listener) for listener in listeners]
    try:
        yield [listener.getsockname()[1] for listener in listeners]
    finally:
        for worker in running:
            worker.stop()
        for listener in listeners:
            listener.close()


@contextlib.contextmanager
def connected(
    port: int, context: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as connection,
    ):
        yield connection


def ask(connection: ssl.SSLSocket, line: bytes = b"pid") -> str:
    connection.sendall(line)
    return connection.recv(10_000).decode()


def shown_names(port: int, store: Store, name: str | None) -> set[str]:
    with connected(port, client_context(store), name) as connection:
        return {value for _kind, value in (connection.getpeercert() or {})["subjectAltName"]}


def test_certificate_is_chosen_by_name(store: Store) -> None:
    https = plan_of(store, ("a.test", "b.test"), ("*.w.test",), ("127.0.0.1",), default_name="127.0.0.1")
    issue(store, https)
    with workers(https, store) as (port,):
        assert shown_names(port, store, "a.test") == {"a.test", "b.test"}
        assert shown_names(port, store, "B.Test") == {"a.test", "b.test"}
        assert shown_names(port, store, "x.w.test") == {"*.w.test"}
        assert shown_names(port, store, None) == {"127.0.0.1"}
        for stranger in ("c.test", "w.test", "x.y.w.test"):
            with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
                shown_names(port, store, stranger)


@pytest.mark.parametrize(("default", "served"), [("*", True), ("", False), ("later.test", False)])
def test_client_that_sends_no_name_gets_what_was_chosen_for_it(store: Store, default: str, served: bool) -> None:
    https = plan_of(store, ("a.test",), default_name=default)
    issue(store, https)
    with workers(https, store) as (port,):
        if served:
            assert shown_names(port, store, None) == {"a.test"}
        else:
            with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
                shown_names(port, store, None)


@pytest.mark.parametrize(("default", "told"), [("*", False), ("", False), ("a.test", False), ("b.test", True)])
def test_default_name_that_is_on_no_certificate_from_files_is_told(store: Store, default: str, told: bool) -> None:
    issue(store, plan_of(store, ("a.test",)))
    plan = CertificatePlan("files", (), "/c.pem", "/k.pem")
    https = HttpsPlan(str(store.root), (plan,), tls=TlsPlan(default_name=default))
    certificates = Certificates(https)
    assert certificates.load(store) == []
    store.write_pair(plan.key, store.read_pair("internal/a.test") or b"")
    store.write_state(plan.key, store.state("internal/a.test"))
    problem = "clients that send no name are refused: https.default_name 'b.test' is on no certificate"
    assert certificates.load(store) == ([problem] if told else [])


def test_name_without_a_certificate_yet_is_served_once_it_is_there(store: Store) -> None:
    https = plan_of(store, ("a.test",), ("b.test",))
    issue(store, replace(https, certificates=https.certificates[:1]))
    with workers(https, store) as (port,):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            shown_names(port, store, "b.test")
        issue(store, https)
        with connected(port, client_context(store), "a.test") as connection:
            ask(connection, b"swap")
        assert shown_names(port, store, "b.test") == {"b.test"}


async def told_by_the_loop(certificates: Certificates, context: ssl.SSLContext, name: str) -> tuple[str, float]:
    """What a client learns when it asks an event loop's server for `name`, and after how many seconds."""

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()

    def client() -> str:
        try:
            with connected(port, context, name) as connection:
                return connection.recv(100).decode()
        except ssl.SSLError as error:
            return error.reason

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: pytest.fail(str(context)))
    server = await loop.create_server(Connection, "127.0.0.1", 0, ssl=certificates.base)
    async with server:
        port, begin = server.sockets[0].getsockname()[1], time.monotonic()
        told = await loop.run_in_executor(None, client)
    return told, time.monotonic() - begin


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_event_loops_tell_the_client_why_it_is_refused(
    store: Store, make_loop: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion
) -> None:
    https = plan_of(store, ("a.test",), min_version="1.3")
    issue(store, https)
    certificates = Certificates(https)
    certificates.load(store)
    context = client_context(store)
    context.maximum_version = version
    old = version == ssl.TLSVersion.TLSv1_2
    asked, alert = ("a.test", "TLSV1_ALERT_PROTOCOL_VERSION") if old else ("c.test", "TLSV1_UNRECOGNIZED_NAME")
    with asyncio.Runner(loop_factory=make_loop) as runner:
        told, seconds = runner.run(told_by_the_loop(certificates, context, asked))
    assert told == alert
    # It is told at once, not when the time for a handshake is over.
    assert seconds < 5


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_on_every_worker_and_through_renewals(store: Store, version: ssl.TLSVersion) -> None:
    https = plan_of(store, ("a.test",), ("b.test",))
    issue(store, https)
    context = client_context(store)
    context.minimum_version = context.maximum_version = version
    resumed, pids = [], set()
    with workers(https, store, 3) as ports:
        with connected(ports[0], context, "a.test") as connection:
            ask(connection)
            session = connection.session
        for round_number in range(4):
            for port in ports:
                with connected(port, context, "a.test", session) as connection:
                    pids.add(ask(connection, b"swap" if round_number == 2 else b"pid").split()[0])
                    resumed.append(connection.session_reused)
                    session = connection.session
            if round_number == 1:
                issue(store, https)
    assert len(pids) == 3
    assert resumed == [True] * 12


def test_open_connection_lives_through_a_renewal_and_new_ones_get_the_new_certificate(store: Store) -> None:
    https = plan_of(store, ("a.test",))
    issue(store, https)
    certificates = Certificates(https)
    assert certificates.load(store) == []
    client, server, first = handshake(certificates, store)
    issue(store, https)
    certificates.load(store, ["internal/a.test"])
    assert handshake(certificates, store)[2] != first
    server.write(b"still here")
    assert client.read(100) == b"still here"


def handshake(certificates: Certificates, store: Store) -> tuple[ssl.SSLObject, ssl.SSLObject, str]:
    """A connection in memory: the client, the server, and the serial number of the certificate shown."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificates.base.wrap_bio(to_server, to_client, server_side=True)
    client = client_context(store).wrap_bio(to_client, to_server, server_hostname="a.test")
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client, server, (client.getpeercert() or {})["serialNumber"]


def test_pair_that_cannot_be_loaded_is_told_and_the_former_stays(store: Store) -> None:
    https = plan_of(store, ("a.test",), ("b.test",))
    issue(store, https)
    certificates = Certificates(https)
    certificates.load(store)
    first = handshake(certificates, store)[2]
    store.write_pair("internal/a.test", b"rubbish")
    (problem,) = certificates.load(store)
    assert problem.startswith("cannot load the certificate a.test: ")
    assert handshake(certificates, store)[2] == first
    assert certificates.names == {"a.test", "b.test"}


@pytest.mark.parametrize(
    ("profile", "minimum", "version", "works"),
    [
        ("intermediate", "1.2", ssl.TLSVersion.TLSv1_2, True),
        ("intermediate", "1.2", ssl.TLSVersion.TLSv1_3, True),
        ("intermediate", "1.3", ssl.TLSVersion.TLSv1_2, False),
        ("modern", "1.3", ssl.TLSVersion.TLSv1_2, False),
    ],
)
def test_versions_are_those_of_the_profile(
    store: Store, profile: str, minimum: str, version: ssl.TLSVersion, works: bool
) -> None:
    https = plan_of(store, ("a.test",), profile=profile, min_version=minimum)
    issue(store, https)
    context = client_context(store)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with workers(https, store) as (port,):
        if not works:
            with pytest.raises(ssl.SSLError), connected(port, context, "a.test"):
                pass
            return
        with connected(port, context, "a.test") as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
            extension = ask(connection)
    number = {ssl.TLSVersion.TLSv1_2: 0x0303, ssl.TLSVersion.TLSv1_3: 0x0304}[version]
    assert f"'tls_version': {number}" in extension
    assert "'cipher_suite': None" not in extension
    assert "'client_cert_name': None" in extension


@pytest.fixture
def people(tmp_path: Path) -> trustme.CA:
    people = trustme.CA()
    people.cert_pem.write_to_path(str(tmp_path / "people.pem"))
    return people


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_subject_of_a_client_certificate_reaches_the_scope_also_in_a_resumed_session(
    store: Store, tmp_path: Path, people: trustme.CA, version: ssl.TLSVersion
) -> None:
    https = plan_of(store, ("a.test",), client_certificates="required", client_ca=str(tmp_path / "people.pem"))
    issue(store, https)
    context = client_context(store)
    context.minimum_version = context.maximum_version = version
    people.issue_cert("jo@people.test", common_name="Jo, the first").configure_cert(context)
    with workers(https, store) as (port,):
        with connected(port, context, "a.test") as connection:
            answer, session = ask(connection), connection.session
        with connected(port, context, "a.test", session) as connection:
            again = ask(connection)
            assert connection.session_reused
    for text in (answer, again):
        assert "CN=Jo\\\\, the first" in text
        assert "BEGIN CERTIFICATE" in text


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether the server ends the connection; in TLS 1.3 the client learns that after its own handshake."""
    try:
        with connected(port, context, "a.test") as connection:
            return ask(connection) == ""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize(("mode", "served"), [("required", False), ("optional", True)])
def test_client_without_a_certificate(
    store: Store, tmp_path: Path, people: trustme.CA, mode: str, served: bool
) -> None:
    https = plan_of(store, ("a.test",), client_certificates=mode, client_ca=str(tmp_path / "people.pem"))
    issue(store, https)
    with workers(https, store) as (port,):
        if served:
            with connected(port, client_context(store), "a.test") as connection:
                assert "'client_cert_name': None" in ask(connection)
        else:
            assert refused(port, client_context(store))


def test_client_certificate_of_strangers_is_refused(store: Store, tmp_path: Path, people: trustme.CA) -> None:
    https = plan_of(store, ("a.test",), client_certificates="optional", client_ca=str(tmp_path / "people.pem"))
    issue(store, https)
    context = client_context(store)
    trustme.CA().issue_cert("eve@elsewhere.test").configure_cert(context)
    with workers(https, store) as (port,):
        assert refused(port, context)


def test_client_authorities_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(FairleadError, match=r"cannot use https\.client_ca '/nowhere\.pem'"):
        make_context(TlsPlan(client_certificates="required", client_ca="/nowhere.pem"))


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), ""),
        (((("countryName", "DE"),), (("commonName", "a+b"),)), "CN=a\\+b,C=DE"),
        (((("commonName", "#x "), ("emailAddress", "j@x")),), "CN=\\#x\\ +emailAddress=j@x"),
    ],
)
def test_subject_is_written_as_rfc_4514_says(subject: object, text: str) -> None:
    assert distinguished_name(subject) == text
