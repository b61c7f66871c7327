"""The plain data of HTTPS: what the plan says, what the store remembers, what a certificate agent is asked.

Standard library only: the supervisor and the workers import this. Times are seconds since the epoch.
"""

import dataclasses
import hashlib
import ipaddress
import json
import typing
from dataclasses import field
from typing import Any, TypeVar

from fairlead.lean_dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Issuer:
    """One certification authority that speaks ACME."""

    name: str
    directory_url: str
    staging_url: str = ""
    """Asked first when an attempt is a retry, so that failures do not use up the real limits. Empty: none."""
    ca_bundle: str = ""
    """PEM file of the roots that the directory's own certificate is checked with. Empty: certifi's."""
    profile: str = ""
    ip_profile: str = ""
    """The profile that certificates with IP addresses need there."""
    eab_key_id: str = ""
    eab_hmac_key: str = field(default="", repr=False)
    """base64url, as the authority hands it out."""


@dataclass(frozen=True, slots=True)
class DnsPlan:
    """How DNS-01 records are set: provider `rfc2136`, `command`, or empty for not at all."""

    provider: str = ""
    server: str = ""
    port: int = 53
    zone: str = ""
    key_name: str = ""
    key_algorithm: str = "hmac-sha256"
    key_secret: str = field(default="", repr=False)
    ttl: int = 60
    present: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()
    timeout: float = 60.0
    propagation_wait: float = 0.0
    propagation_timeout: float = 120.0
    nameservers: tuple[tuple[str, int], ...] = ()
    """Address and port of those that have to show the record; empty: the zone's own."""


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """One certificate: `source` acme, internal or files, and the names on it (for files: the names it must cover)."""

    source: str
    names: tuple[str, ...] = ()
    certificate_file: str = ""
    key_file: str = ""

    @property
    def key(self) -> str:
        """The certificate's place in the store, the same for the same names: `acme/example.com`."""
        if self.source == "files":
            return f"files/{_digest(self.certificate_file, self.key_file)}"
        first = self.names[0].replace("*", "_wildcard").replace(":", "_")
        rest = f"+{len(self.names) - 1}-{_digest(*sorted(self.names))}" if len(self.names) > 1 else ""
        return f"{self.source}/{first}{rest}"

    @property
    def title(self) -> str:
        """How messages call it."""
        return ", ".join(self.names) or self.certificate_file


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """How workers speak TLS. `profile` intermediate or modern; `min_version` 1.2 or 1.3;
    `client_certificates` off, optional or required, checked against the PEM file `client_ca`."""

    profile: str = "intermediate"
    min_version: str = "1.2"
    client_certificates: str = "off"
    client_ca: str = ""
    default_name: str = ""
    """The name whose certificate a client gets that sends no name; `*`: the first one's. Empty: such a client is refused."""
    hsts: str = ""
    """The value of Strict-Transport-Security, or empty for none."""


@dataclass(frozen=True, slots=True)
class HttpsPlan:
    """What `https.settings.HttpsSettings` says, resolved. No certificates: plain HTTP."""

    store: str = ""
    certificates: tuple[CertificatePlan, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    email: str = ""
    agree_tos: bool = False
    challenge: str = "http-01"
    dns: DnsPlan = field(default_factory=DnsPlan)
    leaf_lifetime: float = 7 * 86400.0
    timeout: float = 300.0
    """How long one attempt may take, everything included."""
    tls: TlsPlan = field(default_factory=TlsPlan)
    https_port: int = 443
    http_port: int = 80
    http: str = "redirect"
    """What plain HTTP gets: redirect, serve (the app), or off (no listener)."""
    hook: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateState:
    """What is known of one certificate: `state.json` in its folder of the store, and what status shows.

    `not_after` 0 means that there is none yet. `blocked` holds (directory, until) of issuers that said Retry-After.
    The `ari_` fields are the issuer's advice: its window, our moment in it, and when to ask again.
    """

    names: tuple[str, ...] = ()
    issuer: str = ""
    directory: str = ""
    serial: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    revoked: bool = False
    failures: int = 0
    last_attempt: float = 0.0
    next_attempt: float = 0.0
    last_error: str = ""
    blocked: tuple[tuple[str, float], ...] = ()
    ari_start: float = 0.0
    ari_end: float = 0.0
    ari_time: float = 0.0
    ari_check: float = 0.0
    stamp: str = ""
    """files: what the two files looked like when they were last read."""

    @property
    def lifetime(self) -> float:
        """From not_before to not_after; 0 without a certificate."""
        return self.not_after - self.not_before


@dataclass(frozen=True, slots=True)
class Job:
    """What a certificate agent is to do. `action`: obtain, ari (ask for the issuer's advice) or revoke.

    `asked`: a person wants it, so no wait after failures counts. `force` obtains although nothing is due.
    `identity` is (uid, gid, groups…) to become first, or empty.
    """

    action: str
    certificate: CertificatePlan
    https: HttpsPlan
    asked: bool = False
    force: bool = False
    identity: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended. `outcome`: obtained, unchanged, advised, revoked, failed, or lost (the store could not be read).

    `state` is what the store now says; nothing when the outcome is lost.
    """

    outcome: str
    state: CertificateState
    error: str = ""


@dataclass(frozen=True, slots=True)
class HookOrder:
    """A certificate event that the user's command is run for, as `identity` (as in Job), for `timeout` seconds at most."""

    event: str
    names: tuple[str, ...]
    text: str
    command: tuple[str, ...]
    timeout: float
    identity: tuple[int, ...] = ()


def to_json(value: Any) -> str:
    """A dataclass of this module as one line of JSON."""
    return json.dumps(dataclasses.asdict(value))


def from_json(kind: type[T], text: str) -> T:
    """The `kind` of this module that `to_json` wrote; ValueError when the text is not one."""
    try:
        value = _build(kind, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"cannot read a {kind.__name__}: {error}") from error
    if not isinstance(value, kind):
        raise ValueError(f"cannot read a {kind.__name__}: it is a {type(value).__name__}")
    return value


def _build(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _build(hints[name], item) for name, item in value.items()})
    if typing.get_origin(kind) is tuple:
        options = typing.get_args(kind)
        kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
        return tuple(_build(option, item) for option, item in zip(kinds, value, strict=True))
    if not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def covers(pattern: str, name: str) -> bool:
    """Whether a certificate's name (`*.example.com` is one label) is good for `name`. Both in lower case."""
    if pattern.startswith("*."):
        label, _, parent = name.partition(".")
        return bool(label) and parent == pattern[2:]
    return pattern == name
