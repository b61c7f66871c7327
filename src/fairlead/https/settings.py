"""Settings of the `[https]` table."""

import ipaddress
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from fairlead.config_base import FilePath, FolderPath, Seconds, SomeSeconds, Table, allowed
from fairlead.https.model import CertificatePlan, DnsPlan, HttpsPlan, Issuer, TlsPlan, is_address

KNOWN_ISSUERS = {
    "letsencrypt": Issuer(
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
        staging_url="https://acme-staging-v02.api.letsencrypt.org/directory",
        ip_profile="shortlived",
    ),
    "letsencrypt-staging": Issuer(
        "letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory", ip_profile="shortlived"
    ),
    "zerossl": Issuer("zerossl", "https://acme.zerossl.com/v2/DV90"),
    "google": Issuer("google", "https://dv.acme-v02.api.pki.goog/directory"),
    "google-staging": Issuer("google-staging", "https://dv.acme-v02.test-api.pki.goog/directory"),
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What mode internal serves when nothing is said."""
_NEED_EAB = ("zerossl", "google", "google-staging")
_LEAF_LIFETIME_MIN = 10
"""Seconds. A certificate is renewed by a process of its own: shorter ones would keep a processor busy with that."""
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def parse_name(name: str) -> str:
    """A DNS name (lower case, `*.` in front allowed) or an IP address, as certificates spell it."""
    text = name.strip().lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        pass
    else:
        if getattr(address, "scope_id", None):
            raise ValueError(f"{name!r} is no name for a certificate: an address with a zone is this machine's alone")
        return str(address)
    if not text.isascii():
        raise ValueError(f"{name!r} is no name; international names are written in their xn-- form")
    labels = text.removeprefix("*.").split(".")
    # No top-level domain is a number: that is a mistyped address, or a wildcard of one.
    if len(text) > 253 or labels[-1].isdecimal() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{name!r} is no name; allowed: example.com, *.example.com, 192.0.2.1, 2001:db8::1")
    return text


Name = Annotated[str, AfterValidator(parse_name)]
_HttpsUrl = Annotated[str, Field(pattern=r"^https://[^\s]+$")]


class IssuerSettings(Table):
    """A certification authority: one of the known by its name, or any other by its directory."""

    name: str = Field("", description=f"One of {', '.join(KNOWN_ISSUERS)}, or a word of your own beside directory_url.")
    directory_url: _HttpsUrl | None = Field(None, description="The ACME directory.")
    staging_url: _HttpsUrl | None = Field(None, description="A directory for trials, asked first on retries.")
    ca_bundle: FilePath | None = Field(
        None, description="PEM file of the roots that the directory's server is checked with."
    )
    profile: str | None = Field(None, description="The certificate profile to ask for, as the issuer names it.")
    eab_key_id: str | None = Field(None, description="The key id of an external account.")
    eab_hmac_key: SecretStr | None = Field(None, description="The key of the external account, base64url.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = self.name in KNOWN_ISSUERS
        if not known and self.directory_url is None:
            raise ValueError(
                f"issuer {self.name!r} is not known; allowed: {', '.join(KNOWN_ISSUERS)}, or directory_url"
            )
        if (self.eab_key_id is None) != (self.eab_hmac_key is None):
            raise ValueError("eab_key_id and eab_hmac_key belong together")
        if self.name in _NEED_EAB and self.eab_key_id is None:
            raise ValueError(f"{self.name} needs eab_key_id and eab_hmac_key of an account made there")
        return self

    def plan(self) -> Issuer:
        """The issuer with everything known of it filled in."""
        known = KNOWN_ISSUERS.get(self.name, Issuer("", ""))
        url = self.directory_url or known.directory_url
        return Issuer(
            name=self.name or url.split("/")[2],
            directory_url=url,
            # Another directory under a known name has nothing to do with the known one's trials.
            staging_url=self.staging_url or (known.staging_url if url == known.directory_url else ""),
            ca_bundle=self.ca_bundle or "",
            profile=self.profile or "",
            ip_profile=known.ip_profile,
            eab_key_id=self.eab_key_id or "",
            eab_hmac_key=self.eab_hmac_key.get_secret_value() if self.eab_hmac_key else "",
        )


def _server_place(text: str) -> tuple[str, int]:
    """The address and port of `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`."""
    try:
        return str(ipaddress.ip_address(text)), 53
    except ValueError:
        address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no name server; allowed: an address, or address:port")
    return str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))), int(port)


def _checked_server(text: str) -> str:
    _server_place(text)
    return text


class DnsSettings(Table):
    """How DNS-01 challenges set their TXT record."""

    provider: Literal["rfc2136", "command"] = Field(
        description="rfc2136: DNS UPDATE signed with TSIG. command: your own."
    )
    server: str | None = Field(None, description="rfc2136: the primary name server's address.")
    port: int = Field(53, ge=1, le=65535, description="rfc2136: its port.")
    zone: str | None = Field(None, description="rfc2136: the zone. Default: found by asking the server for its SOA.")
    key_name: str | None = Field(None, description="rfc2136: the TSIG key's name.")
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = Field("hmac-sha256", description="rfc2136.")
    key_secret: SecretStr | None = Field(None, description="rfc2136: the TSIG key, base64.")
    ttl: int = Field(60, ge=1, description="rfc2136: the record's time to live.")
    present: list[str] = Field(
        default_factory=list,
        description="command: sets the record. Environment: FAIRLEAD_DOMAIN, FAIRLEAD_RECORD, FAIRLEAD_VALUE.",
    )
    cleanup: list[str] = Field(default_factory=list, description="command: removes the record; the same environment.")
    timeout: Seconds = Field(60.0, description="How long one update or one command may take.")
    propagation_timeout: Seconds = Field(
        120.0,
        description="rfc2136: how long the name servers may take to show the record, before the issuer is told to look. "
        "0: they are not asked.",
    )
    nameservers: list[Annotated[str, AfterValidator(_checked_server)]] = Field(
        default_factory=list,
        json_schema_extra=allowed(
            'a list of addresses, "192.0.2.53", or with a port, "192.0.2.53:5353" or "[::1]:5353"'
        ),
        description="rfc2136: those that are asked, beside server. Default: the name servers of the zone.",
    )
    propagation_wait: Seconds | None = Field(
        None, description="A wait after the record is set. Default: 10 s with a command; none with rfc2136."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.provider == "rfc2136" and not (self.server and self.key_name and self.key_secret):
            raise ValueError("provider rfc2136 needs server, key_name and key_secret")
        if self.provider == "command" and not self.present:
            raise ValueError("provider command needs present")
        return self

    def plan(self) -> DnsPlan:
        """The same as plain data."""
        values = self.model_dump(exclude={"key_secret", "present", "cleanup", "nameservers"})
        if self.propagation_wait is None:
            values["propagation_wait"] = 10.0 if self.provider == "command" else 0.0
        return DnsPlan(
            **{key: value for key, value in values.items() if value is not None},
            nameservers=tuple(map(_server_place, self.nameservers)),
            key_secret=self.key_secret.get_secret_value() if self.key_secret else "",
            present=tuple(self.present),
            cleanup=tuple(self.cleanup),
        )


class FilePair(Table):
    """A certificate and its key."""

    certificate: FilePath = Field(description="PEM file: the certificate, then the chain.")
    key: FilePath = Field(description="PEM file: the private key, without a passphrase.")
    names: list[Name] = Field(default_factory=list, description="Names it must be good for. Default: whatever it says.")


class HstsSettings(Table):
    """Strict-Transport-Security: browsers then refuse plain HTTP for that long."""

    max_age: Seconds = Field(0.0, description="How long. 0: the header is not sent.")
    include_subdomains: bool = Field(False, description="For all names below, too.")
    preload: bool = Field(False, description="Consent to the browsers' built-in list.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.max_age and (self.include_subdomains or self.preload):
            raise ValueError("include_subdomains and preload need max_age: the header is not sent without it")
        return self

    def value(self) -> str:
        """The header's value; empty for none."""
        if not self.max_age:
            return ""
        flags = ("; includeSubDomains" if self.include_subdomains else "") + ("; preload" if self.preload else "")
        return f"max-age={int(self.max_age)}{flags}"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_issuer(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class HttpsSettings(Table):
    """Which names are served over HTTPS, where their certificates come from, and how TLS is spoken."""

    mode: Literal["off", "internal", "acme", "files"] | None = Field(
        None,
        description="Where certificates come from. acme: an authority such as Let's Encrypt. internal: a local authority. "
        "files: yours. Default: acme with domains, files with files, else off.",
    )
    domains: list[Annotated[list[Name], BeforeValidator(_as_list), Field(min_length=1)]] = Field(
        default_factory=list,
        description='Names, each with a certificate of its own: "example.com", "*.example.com", "192.0.2.1". '
        "A list among them is one certificate with several names. mode internal without domains: localhost and its "
        "addresses, on 127.0.0.1 and ::1 alone.",
    )
    files: list[FilePair] = Field(default_factory=list, description="mode files: certificates and their keys.")
    https_port: int | None = Field(
        None, ge=1, le=65535, description="The port of HTTPS. Default: 443; 8443 for mode internal without domains."
    )
    http_port: int | None = Field(
        None, ge=1, le=65535, description="The port of plain HTTP. Default: 80; 8080 for mode internal without domains."
    )
    http: Literal["redirect", "serve", "off"] = Field(
        "redirect", description="What plain HTTP gets: a redirect to HTTPS, the app, or no listener."
    )
    issuers: list[Annotated[IssuerSettings, BeforeValidator(_as_issuer)]] = Field(
        default_factory=lambda: [IssuerSettings.model_validate({"name": "letsencrypt"})],
        min_length=1,
        description="Authorities, by name or as tables, asked in turn.",
    )
    email: str = Field("", pattern=r"^$|^[^@\s,]+@[^@\s,]+$", description="Where an authority writes to.")
    agree_tos: bool = Field(False, description="You agree to the terms of service of every issuer named here.")
    challenge: Literal["http-01", "dns-01"] | None = Field(
        None, description="How the names are proven. Default: dns-01 when dns is set, else http-01."
    )
    dns: DnsSettings | None = Field(None, description="How DNS-01 sets its records.")
    timeout: SomeSeconds = Field(300.0, description="How long one attempt to obtain a certificate may take.")
    leaf_lifetime: Seconds = Field(
        7 * 86400.0,
        ge=_LEAF_LIFETIME_MIN,
        json_schema_extra=allowed(f"a duration of at least {_LEAF_LIFETIME_MIN} s, such as 12h or 7d"),
        description="mode internal: how long a certificate is valid.",
    )
    store: FolderPath | None = Field(
        None,
        description="The certificate store. Default: https in $STATE_DIRECTORY; else for root in /var/lib/fairlead "
        "(https-USER with app.user), for others in $XDG_STATE_HOME/fairlead.",
    )
    tls: Literal["intermediate", "modern"] = Field(
        "intermediate", description="Mozilla's profile; modern is TLS 1.3 only."
    )
    min_version: Literal["1.2", "1.3"] | None = Field(
        None, description="The lowest TLS version. Default: the profile's."
    )
    client_certificates: Literal["off", "optional", "required"] = Field("off", description="Whether clients show one.")
    client_ca: FilePath | None = Field(None, description="PEM file of the authorities of client certificates.")
    default_name: Name | Literal[""] | None = Field(
        None,
        description="Whose certificate a client gets that sends no name, as those that come by IP do. "
        'Default: the first address in domains, else the first name. "": such clients are refused.',
    )
    hsts: HstsSettings = Field(
        default_factory=lambda: HstsSettings.model_validate({}), description="Strict-Transport-Security."
    )
    hook: list[str] = Field(
        default_factory=list,
        description="A command run on obtained, failed, expiring, expired and revoked. "
        "Environment: FAIRLEAD_EVENT, FAIRLEAD_NAMES, FAIRLEAD_TEXT.",
    )

    @property
    def resolved_mode(self) -> Literal["off", "internal", "acme", "files"]:
        """The mode, or what its default comes to."""
        return self.mode or ("acme" if self.domains else "files" if self.files else "off")

    @property
    def names(self) -> list[str]:
        """All names, in order."""
        return [name for group in self.groups for name in group]

    @property
    def groups(self) -> list[list[str]]:
        """The names of each certificate."""
        return [list(LOCAL_NAMES)] if self.is_local else self.domains

    @property
    def is_local(self) -> bool:
        """Whether this is HTTPS for this machine alone: mode internal, and no names were said."""
        return self.mode == "internal" and not self.domains

    @property
    def ports(self) -> tuple[int, int]:
        """Those of HTTPS and of plain HTTP."""
        https, http = (8443, 8080) if self.is_local else (443, 80)
        return self.https_port or https, self.http_port or http

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._mode_problems(), *self._tls_problems()]
        if self.resolved_mode == "acme":
            problems += self._acme_problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _mode_problems(self) -> list[str]:
        mode, problems = self.resolved_mode, []
        if mode == "acme" and not self.domains:
            problems.append("mode acme needs domains")
        if mode == "files" and not self.files:
            problems.append("mode files needs files")
        if mode != "files" and self.files:
            problems.append(f"files are not used with mode {mode}")
        if mode == "files" and self.domains:
            problems.append("domains are not used with mode files; the certificates say their names")
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            problems.append(f"domains names {', '.join(twice)} twice")
        if mode != "off" and self.http != "off" and self.ports[0] == self.ports[1]:
            problems.append("http_port and https_port are the same")
        return problems

    def _tls_problems(self) -> list[str]:
        problems = []
        if (self.client_certificates != "off") != (self.client_ca is not None):
            problems.append("client_certificates and client_ca belong together")
        if self.tls == "modern" and self.min_version == "1.2":
            problems.append("tls modern has no TLS 1.2; use intermediate")
        if self.default_name and self.names and self.default_name not in self.names:
            problems.append(f"default_name {self.default_name!r} is not in domains")
        return problems

    def _acme_problems(self) -> list[str]:
        problems = []
        if not self.agree_tos:
            problems.append(
                "agree_tos must be true: an authority issues only to those who agree to its terms of service"
            )
        if self.challenge == "dns-01" and self.dns is None:
            problems.append("challenge dns-01 needs dns")
        if self.resolved_challenge == "http-01":
            wild = [name for name in self.names if name.startswith("*.")]
            problems += [f"{name!r} needs challenge dns-01 and dns" for name in wild]
            if self.http == "off":
                problems.append('challenge http-01 needs plain HTTP; allowed for http: "redirect" or "serve"')
        elif self.http == "off" and (addresses := [name for name in self.names if is_address(name)]):
            problems.append(
                f"{', '.join(addresses)}: an address has no DNS records, so it needs challenge http-01 and plain HTTP; "
                'allowed for http: "redirect" or "serve"'
            )
        return problems

    @property
    def resolved_challenge(self) -> Literal["http-01", "dns-01"]:
        """The challenge, or what its default comes to. Addresses use http-01 always: they have no records."""
        return self.challenge or ("dns-01" if self.dns else "http-01")

    def plan(self, store: str) -> HttpsPlan:
        """The same as plain data; `store` is where the store is when the settings do not say."""
        mode = self.resolved_mode
        return HttpsPlan(
            store=self.store or store,
            certificates=self._certificates(),
            issuers=tuple(issuer.plan() for issuer in self.issuers) if mode == "acme" else (),
            email=self.email,
            agree_tos=self.agree_tos,
            challenge=self.resolved_challenge,
            dns=self.dns.plan() if self.dns else DnsPlan(),
            leaf_lifetime=self.leaf_lifetime,
            timeout=self.timeout,
            tls=self._tls_plan(),
            https_port=self.ports[0],
            http_port=self.ports[1],
            http=self.http,
            hook=tuple(self.hook),
        )

    def _certificates(self) -> tuple[CertificatePlan, ...]:
        mode = self.resolved_mode
        if mode == "off":
            return ()
        if mode == "files":
            return tuple(CertificatePlan("files", tuple(pair.names), pair.certificate, pair.key) for pair in self.files)
        return tuple(CertificatePlan(mode, tuple(group)) for group in self.groups)

    def _tls_plan(self) -> TlsPlan:
        default_name = self.default_name
        if default_name is None:
            default_name = next(filter(is_address, self.names), self.names[0] if self.names else "*")
        return TlsPlan(
            profile=self.tls,
            min_version=self.min_version or ("1.3" if self.tls == "modern" else "1.2"),
            client_certificates=self.client_certificates,
            client_ca=self.client_ca or "",
            default_name=default_name,
            hsts=self.hsts.value(),
        )
