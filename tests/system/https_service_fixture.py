"""The real `fairlead run` with HTTPS, and clients that know what they were given."""

import contextlib
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from pebble_fixture import Pebble, free_port
from service import Service

from fairlead.https.store import Store

PLAIN_APP = Path(__file__).parents[2] / "bench" / "apps" / "plain.py"


class HttpsService(Service):
    """A service whose HTTPS is on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, http_port: int | None = None) -> None:
        super().__init__(folder)
        self.https_port, self.http_port = free_port(), http_port or free_port()
        self.roots = ""
        """PEM of whom clients trust."""
        shutil.copy(PLAIN_APP, folder / "main.py")

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def https(self, lines: str, more: str = "", store: str | Path = "store") -> "HttpsService":
        """Writes the configuration: `lines` of the [https] table, and `more` tables."""
        self.configure(
            f'[https]\nstore = "{store}"\nhttps_port = {self.https_port}\nhttp_port = {self.http_port}\n{lines}\n'
            f'[http]\nhost = "127.0.0.1"\n{more}'
        )
        return self

    def acme(
        self, pebble: Pebble, *names: str, lines: str = "", more: str = "", store: str | Path = "store"
    ) -> "HttpsService":
        """The configuration for certificates from Pebble, one for each name."""
        self.roots = pebble.roots().decode()
        return self.https(
            f"domains = {list(names)}\nagree_tos = true\n{lines}\n"
            f'issuers = [{{ directory_url = "{pebble.directory_url}", ca_bundle = "{pebble.ca_bundle}" }}]',
            more,
            store,
        )

    def run(self, *flags: str, prefix: tuple[str, ...] = ()) -> "HttpsService":
        self.start(*flags, bind=None, prefix=prefix)
        return self

    def obtained(self, since: int = 0, timeout: float = 60.0) -> dict[str, Any]:
        return self.wait_for("certificate.obtained", since, timeout)

    def context(self) -> ssl.SSLContext:
        """Trusts whom the service's certificates are from."""
        roots = self.roots or (self.store.root / "internal" / "root.pem").read_text()
        return ssl.create_default_context(cadata=roots)

    def connect(
        self, name: str | None, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self.https_port), 10)
        try:
            return (context or self.context()).wrap_socket(sock, server_hostname=name, session=session)
        except BaseException:
            sock.close()
            raise

    def serial(self, name: str) -> int:
        """Of the certificate that clients of `name` get now."""
        with self.connect(name) as sock:
            return x509.load_der_x509_certificate(sock.getpeercert(True) or b"").serial_number

    def certificates(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status()["certificates"]
        return found


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(sock: socket.socket, host: str, path: str = "/", *headers: str, method: str = "GET") -> Answer:
    """One request on a connection, to its end: the server is asked to close."""
    lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", "")
    sock.sendall("\r\n".join(lines).encode())
    data = b""
    while piece := sock.recv(65536):
        data += piece
    if not data:
        raise ConnectionError("the connection ended without an answer")
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    pairs = (field.split(": ", 1) for field in fields)
    return Answer(int(status.split()[1]), {key.lower(): value for key, value in pairs}, body)


def plain(service: HttpsService, host: str, path: str = "/", *headers: str) -> Answer:
    """One request to port 80."""
    with socket.create_connection(("127.0.0.1", service.http_port), 10) as sock:
        return ask(sock, host, path, *headers)


@contextlib.contextmanager
def https_service(folder: Path, http_port: int | None = None) -> Iterator[HttpsService]:
    service = HttpsService(folder, http_port)
    try:
        yield service
    finally:
        service.close()


def wait_until(condition: Any, what: str, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
