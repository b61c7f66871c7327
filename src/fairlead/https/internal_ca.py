"""The local certification authority: a root that is kept, and short-lived certificates for the names of this machine."""

import datetime
import ipaddress
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.errors import FairleadError
from fairlead.https.model import is_address
from fairlead.https.pairs import Pair, general_name, make_pair, new_key
from fairlead.https.store import Store

ROOT, ROOT_KEY = "internal/root.pem", "internal/root-key.pem"
_ROOT_LIFETIME = datetime.timedelta(days=3650)
_SKEW = datetime.timedelta(minutes=5)
_PRIVATE_DOMAINS = ("localhost", "local", "internal", "test", "home.arpa", "lan")
_PRIVATE_NETWORKS = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"
)  # fmt: skip
_TRUST_FOLDER = Path("/usr/local/share/ca-certificates")


class InternalError(FairleadError):
    """The local authority cannot do what it is asked."""


def root(store: Store, names: Iterable[str], now: float) -> bytes:
    """The root certificate (PEM), made at the first call.

    It may sign names of private use only, and those of `names` that are not: a stolen key must not be good for all of the web.
    """
    with store.lock("internal/lock"):
        found = store.read(ROOT)
        if found is None:
            key = new_key()
            found = _make_root(key, [name for name in names if not _private(name)], now)
            # The key goes first: a root without a key would stand in the way for ever.
            store.write(ROOT_KEY, key)
            store.write(ROOT, found)
        return found


def issue(store: Store, names: tuple[str, ...], lifetime: float, now: float) -> Pair:
    """A fresh key and a certificate for `names`, valid from now for `lifetime` seconds."""
    authority = x509.load_pem_x509_certificate(root(store, names, now))
    outside = [name for name in names if not _permitted(authority, name)]
    if outside:
        raise InternalError(
            f"cannot issue for {', '.join(outside)}: the local root was made for other names; "
            f"remove {store.root / ROOT} to have a new one made, which clients then have to trust"
        )
    key = new_key()
    leaf = _make_leaf(authority, _root_key(store), key, names, lifetime, now)
    return make_pair(key, leaf.public_bytes(serialization.Encoding.PEM))


def _root_key(store: Store) -> ec.EllipticCurvePrivateKey:
    pem = store.read(ROOT_KEY)
    if pem is None:
        raise InternalError(f"cannot issue: {store.root / ROOT_KEY} is missing")
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InternalError(f"cannot issue: {store.root / ROOT_KEY} is no ECDSA key")
    return key


def _private(name: str) -> bool:
    if is_address(name):
        return any(ipaddress.ip_address(name) in ipaddress.ip_network(network) for network in _PRIVATE_NETWORKS)
    return any(_below(name, domain) for domain in _PRIVATE_DOMAINS)


def _permitted(authority: x509.Certificate, name: str) -> bool:
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    if is_address(name):
        # What we put there are networks, which the library's annotation does not know.
        networks = [str(one.value) for one in constraints if isinstance(one, x509.IPAddress)]
        return any(ipaddress.ip_address(name) in ipaddress.ip_network(network) for network in networks)
    domains = [one.value for one in constraints if isinstance(one, x509.DNSName)]
    return any(_below(name.removeprefix("*."), domain) for domain in domains)


def _below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _make_root(key_pem: bytes, extra: list[str], now: float) -> bytes:
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
    title = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fairlead local authority"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"Fairlead local root {begin:%Y-%m-%d} {x509.random_serial_number() % 10**6:06}"),
    ])  # fmt: skip
    names = [
        x509.DNSName(name) for name in (*_PRIVATE_DOMAINS, *(n.removeprefix("*.") for n in extra if not is_address(n)))
    ]
    networks = (*_PRIVATE_NETWORKS, *(name for name in extra if is_address(name)))
    permitted = [*names, *(x509.IPAddress(ipaddress.ip_network(network)) for network in networks)]
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(title, title, key.public_key(), begin - _SKEW, begin + _ROOT_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _make_leaf(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key_pem: bytes,
    names: tuple[str, ...],
    lifetime: float,
    now: float,
) -> x509.Certificate:
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
    end = min(begin + datetime.timedelta(seconds=lifetime), authority.not_valid_after_utc)
    # Short certificates are set back less, so that the third of the lifetime that renewal counts on stays a third.
    begin -= min(_SKEW, datetime.timedelta(seconds=lifetime / 10))
    builder = _builder(x509.Name([]), authority.subject, key.public_key(), begin, end)
    alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
    builder = builder.add_extension(alternative, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    builder = builder.add_extension(authority_identifier, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin.replace(microsecond=0)).not_valid_after(end.replace(microsecond=0))


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# the trust store


def trust_path(root_pem: bytes, folder: Path = _TRUST_FOLDER) -> Path:
    """Where this root goes in the system's trust store; roots of several stores do not overwrite each other."""
    fingerprint = x509.load_pem_x509_certificate(root_pem).fingerprint(hashes.SHA256()).hex()
    return folder / f"fairlead-{fingerprint[:16]}.crt"


def install_root(
    root_pem: bytes, folder: Path = _TRUST_FOLDER, command: tuple[str, ...] = ("update-ca-certificates",)
) -> Path:
    """Has the whole system trust the root (Debian and Ubuntu; as root). Returns the file it is in."""
    if shutil.which(command[0]) is None:
        raise InternalError(f"cannot install the root: {command[0]} is missing; install the package ca-certificates")
    path = trust_path(root_pem, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(root_pem)
        path.chmod(0o644)
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError(f"cannot install the root: {error}") from error
    return path


def remove_root(
    root_pem: bytes, folder: Path = _TRUST_FOLDER, command: tuple[str, ...] = ("update-ca-certificates",)
) -> None:
    """Has the system trust the root no longer."""
    try:
        trust_path(root_pem, folder).unlink(missing_ok=True)
        subprocess.run((*command, "--fresh"), check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError(f"cannot remove the root: {error}") from error


def instructions(path: Path) -> str:
    """How people have clients trust the root in `path` that do not use the system's trust store."""
    return f"""\
System (Debian, Ubuntu):  cp {path} {_TRUST_FOLDER}/fairlead.crt && update-ca-certificates
Chromium, Chrome (Linux): certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n fairlead -i {path}   (package libnss3-tools)
Firefox:                  Settings > Privacy & Security > View Certificates > Authorities > Import
macOS:                    security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {path}
Windows:                  certutil -user -addstore Root {path}
curl:                     curl --cacert {path} https://localhost
Python:                   SSL_CERT_FILE={path}
"""
