"""A small ACME authority for what Pebble cannot do: renewal advice, profiles, rate limits, and every kind of nonsense.

It validates nothing and checks no signatures: what it is for is how the client takes its answers. `faults` maps a path's
first part (order, finalize, certificate, …) to a queue of (status, headers, body) sent instead of the real answer.
"""

import base64
import contextlib
import datetime
import json
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.https.model import Issuer

Fault = tuple[int, dict[str, str], bytes]


def problem(status: int, kind: str, detail: str, **headers: str) -> Fault:
    body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
    return status, {"Content-Type": "application/problem+json", **headers}, json.dumps(body).encode()


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class FakeCa:
    """The authority's state and its knobs; tests read `orders` (newOrder payloads) and `requests` (path parts)."""

    def __init__(self) -> None:
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.orders: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.profiles: dict[str, str] = {}
        self.window: tuple[float, float] | None = None
        self.advice_retry_after = "21600"
        self.lifetime = 86400.0
        self.age = 0.0
        self.names_on_certificate: list[str] | None = None
        self.signed_by_stranger = False
        self.key_of_stranger = False
        self.url = ""
        self.certificates: dict[str, bytes] = {}
        self._open: dict[str, dict[str, Any]] = {}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign_self(self.key)

    def issuer(self, **more: str) -> Issuer:
        return Issuer("fake", self.url + "/directory", **more)

    def _sign_self(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake")])
        return self._builder(name, key.public_key(), 10**7).sign(key, hashes.SHA256())

    def _builder(self, subject: x509.Name, public: Any, lifetime: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self.age)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake")])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
        return builder.not_valid_after(now + datetime.timedelta(seconds=lifetime))

    def issue(self, csr: x509.CertificateSigningRequest) -> bytes:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self.names_on_certificate is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in self.names_on_certificate])
        stranger = ec.generate_private_key(ec.SECP256R1())
        public = stranger.public_key() if self.key_of_stranger else csr.public_key()
        builder = self._builder(x509.Name([]), public, self.lifetime).add_extension(names, critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        leaf = builder.sign(stranger if self.signed_by_stranger else self.key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        return leaf.public_bytes(pem) + self.certificate.public_bytes(pem)

    def directory(self) -> dict[str, Any]:
        names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order", "revokeCert": "revoke"}
        found: dict[str, Any] = {name: f"{self.url}/{path}" for name, path in names.items()}
        found["meta"] = {"profiles": self.profiles} if self.profiles else {}
        if self.window is not None:
            found["renewalInfo"] = self.url + "/advice"
        return found

    def answer(self, path: str, payload: Any) -> tuple[int, dict[str, str], bytes]:
        kind, _, rest = path.strip("/").partition("/")
        self.requests.append(kind)
        if kind == "order" and not rest:
            self.orders.append(payload)
        if self.faults[kind]:
            return self.faults[kind].pop(0)
        handler = getattr(self, f"_{kind}")
        status, headers, body = handler(rest, payload)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return status, headers, content

    def _directory(self, _rest: str, _payload: Any) -> tuple[int, dict[str, str], Any]:
        return 200, {"Content-Type": "application/json"}, self.directory()

    def _nonce(self, _rest: str, _payload: Any) -> tuple[int, dict[str, str], Any]:
        return 200, {}, b""

    def _account(self, _rest: str, _payload: Any) -> tuple[int, dict[str, str], Any]:
        return 201, {"Location": f"{self.url}/account/1"}, {"status": "valid"}

    def _order(self, rest: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        if not rest:
            rest = secrets.token_hex(4)
            finalize = f"{self.url}/finalize/{rest}"
            identifiers = payload["identifiers"]
            self._open[rest] = {
                "status": "ready", "identifiers": identifiers, "authorizations": [], "finalize": finalize
            }  # fmt: skip
        return 201, {"Location": f"{self.url}/order/{rest}"}, self._open[rest]

    def _finalize(self, rest: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        self.certificates[rest] = self.issue(x509.load_der_x509_csr(unbase64(payload["csr"])))
        self._open[rest] |= {"status": "valid", "certificate": f"{self.url}/certificate/{rest}"}
        return 200, {"Location": f"{self.url}/order/{rest}"}, self._open[rest]

    def _certificate(self, rest: str, _payload: Any) -> tuple[int, dict[str, str], Any]:
        return 200, {"Content-Type": "application/pem-certificate-chain"}, self.certificates[rest]

    def _advice(self, _rest: str, _payload: Any) -> tuple[int, dict[str, str], Any]:
        assert self.window is not None
        start, end = (datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat() for at in self.window)
        body = {"suggestedWindow": {"start": start, "end": end}}
        return 200, {"Content-Type": "application/json", "Retry-After": self.advice_retry_after}, body


@contextlib.contextmanager
def running_fake_ca() -> Iterator[FakeCa]:
    ca = FakeCa()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, payload: Any) -> None:
            status, headers, body = ca.answer(self.path, payload)
            self.send_response(status)
            for name, value in {"Replay-Nonce": secrets.token_urlsafe(16), **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            self._send(None)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            payload = unbase64(message["payload"])
            self._send(json.loads(payload) if payload else None)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ca.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield ca
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
