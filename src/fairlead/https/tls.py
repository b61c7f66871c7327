"""The worker's side of TLS: one base context made before forking, and a context for each certificate behind it.

Session tickets belong to the base context, so a client resumes its session on any worker forked after it was made, and across
renewals. Certificates are swapped by putting a fresh context in the place of the old one: connections that are open keep theirs.
"""

import ssl
import sys
from collections.abc import Iterable
from typing import Any, cast

from fairlead.errors import FairleadError
from fairlead.https.model import HttpsPlan, TlsPlan
from fairlead.https.store import Store

_INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERSION_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_VERIFY = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}


class Certificates:
    """The contexts of a plan's certificates. Make it in the template; call `load` in each worker, and again at each swap."""

    def __init__(self, https: HttpsPlan) -> None:
        self._https = https
        self._by_key: dict[str, tuple[tuple[str, ...], ssl.SSLContext]] = {}
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._nameless = ""
        """The last problem that was told of clients without a name."""
        self.base = make_context(https.tls, BaseContext)
        """What the server listens with. It has no certificate of its own."""
        self.base.sni_callback = self._choose
        self._suites = {str(cipher["name"]): int(str(cipher["id"])) & 0xFFFF for cipher in self.base.get_ciphers()}

    def load(self, store: Store, keys: Iterable[str] | None = None) -> list[str]:
        """Takes certificates from the store: `keys`, or all. Returns what went wrong; then the former one stays."""
        problems = []
        for plan in self._https.certificates:
            if keys is not None and plan.key not in keys:
                continue
            try:
                found = self._load_one(store, plan.key, plan.names)
            except (FairleadError, OSError) as error:
                problems.append(f"cannot load the certificate {plan.title}: {error}")
                continue
            if found:
                self._by_key[plan.key] = found
        # One assignment: a handshake sees the old table or the new one.
        self._by_name = {name: context for names, context in self._by_key.values() for name in names}
        return problems + self._nameless_problems()

    def _nameless_problems(self) -> list[str]:
        """Names of certificates from files are known only once they are read: whether default_name is among them, too."""
        plans, name = self._https.certificates, self._https.tls.default_name
        complete = len(self._by_key) == len(plans) and all(plan.source == "files" for plan in plans)
        missing = complete and name not in ("", "*") and self._find(None) is None
        problem = f"clients that send no name are refused: https.default_name {name!r} is on no certificate"
        before, self._nameless = self._nameless, problem if missing else ""
        return [problem] if missing and not before else []

    @property
    def names(self) -> frozenset[str]:
        """The names there is a certificate for."""
        return frozenset(self._by_name)

    def extension(self, connection: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
        """A connection's entry in the ASGI scope: `scope["extensions"]["tls"]`, as the ASGI TLS extension says."""
        subject: Any = (connection.getpeercert() or {}).get("subject", ())
        der = connection.getpeercert(binary_form=True)
        suite = connection.cipher()
        return {
            "server_cert": None,
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
            "client_cert_name": distinguished_name(subject) if der else None,
            "client_cert_error": None,
            "tls_version": _VERSION_NUMBERS.get(connection.version() or ""),
            "cipher_suite": self._suites.get(suite[0]) if suite else None,
        }

    def _load_one(
        self, store: Store, key: str, names: tuple[str, ...]
    ) -> tuple[tuple[str, ...], ssl.SSLContext] | None:
        # Read first, for the check of owner and mode; load_cert_chain reads the path by itself.
        if store.read_pair(key) is None:
            return None
        context = make_context(self._https.tls)
        context.load_cert_chain(store.pair_path(key))
        return store.state(key).names or names, context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _base: ssl.SSLContext) -> int | None:
        context = self._find(name)
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = context
        return None

    def _find(self, name: str | None) -> ssl.SSLContext | None:
        if name is None:
            name = self._https.tls.default_name
            if name == "*":
                return next((context for _names, context in self._by_key.values()), None)
        name = name.lower()
        return self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])


class Handshake(ssl.SSLObject):
    """A connection whose client is told why its handshake fails.

    asyncio and uvloop end a connection at once when its handshake fails, and OpenSSL's alert stays in the buffer. So the
    failure is first told as a want of more data, for which they send what is there; the client's end, its next bytes or
    the time that a handshake may take then bring the failure itself.
    """

    outgoing: ssl.MemoryBIO
    failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """As every SSLObject's."""
        if self.failure is not None:
            raise self.failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if not self.outgoing.pending:
                raise
            self.failure = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert goes first") from error


class BaseContext(ssl.SSLContext):
    """The context that listens: its connections are Handshakes."""

    sslobject_class = Handshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As every SSLContext's."""
        connection = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        cast("Handshake", connection).outgoing = outgoing
        return connection


def make_context(tls: TlsPlan, made: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A server context by Mozilla's recommendations. FairleadError when the client authorities cannot be read."""
    context = made(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(_INTERMEDIATE)
    # Every suite on the list is good, so the client knows best which one its processor does fast.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_certificates != "off":
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise FairleadError(f"cannot use https.client_ca {tls.client_ca!r}: {error}") from error
        # The chosen context verifies, and the base context decides whether to ask: both need it.
        context.verify_mode = _VERIFY[tls.client_certificates]
    return context


def ignore_strange_names() -> None:
    """Has names that are no ASCII refused without a word.

    Python's ssl reads the name that a client sends before the callback is called; what it raises there nobody can catch,
    so it is printed, with a traceback, as often as any stranger likes.
    """
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
            before(unraisable)

    sys.unraisablehook = hook


def distinguished_name(subject: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A subject as `SSLObject.getpeercert` gives it, in the text form of RFC 4514: `CN=jo,O=Acme`."""
    parts = ["+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in relative) for relative in subject]
    return ",".join(reversed(parts))


def _escape(value: str) -> str:
    text = "".join(f"\\{char}" if char in '\\,+"<>;=' else "\\00" if char == "\0" else char for char in value)
    if text.startswith(("#", " ")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and not text.endswith("\\ ") else text
