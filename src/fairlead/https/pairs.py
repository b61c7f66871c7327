"""A key and its certificate chain: made, taken apart and checked. Runs in the certificate agent and the CLI only."""

import ipaddress
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.errors import FairleadError
from fairlead.https.model import CertificateState, covers, is_address
from fairlead.lean_dataclass import dataclass

_CLOCK_SKEW = 3600.0
"""An issuer's clock may be ahead of ours; a certificate that begins later than this is not for now."""


class PairError(FairleadError):
    """A key and a chain that cannot be served."""


class KeyPairError(PairError):
    """It is the key that cannot be used."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and its chain, the leaf first, both as PEM; `leaf` is the first of the chain."""

    key: bytes
    chain: bytes
    leaf: x509.Certificate

    @property
    def pem(self) -> bytes:
        """What the store keeps: one file, which `SSLContext.load_cert_chain` reads as it is."""
        return self.key.rstrip() + b"\n" + self.chain.lstrip()

    def describe(self, state: CertificateState) -> CertificateState:
        """`state` with what the certificate says of itself; the issuer's advice belonged to the one before it."""
        return replace(
            state,
            names=leaf_names(self.leaf),
            issuer=_issuer(self.leaf),
            serial=f"{self.leaf.serial_number:x}",
            not_before=self.leaf.not_valid_before_utc.timestamp(),
            not_after=self.leaf.not_valid_after_utc.timestamp(),
        )


def new_key() -> bytes:
    """A fresh ECDSA P-256 key as PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def tidy_pair(pair: Pair) -> Pair:
    """The pair without what people's files have beside it: a bundle's other half, parameters, notes."""
    private = serialization.load_pem_private_key(pair.key, password=None)
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in _parse_chain(pair.chain))
    return Pair(key, chain, pair.leaf)


def make_pair(key: bytes, chain: bytes) -> Pair:
    """The pair of two PEM texts. PairError when one cannot be read or they do not belong together."""
    leaf = _parse_chain(chain)[0]
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError as error:
        raise KeyPairError("cannot use the private key: it has a passphrase") from error
    except ValueError as error:
        raise KeyPairError(f"cannot use the private key: {_cause(error)}") from error
    if _public(private.public_key()) != _public(leaf.public_key()):
        raise PairError("cannot use the certificate: it belongs to another private key")
    return Pair(key, chain, leaf)


def split_pair(pem: bytes) -> Pair:
    """The pair of what the store keeps."""
    begin = pem.find(b"-----BEGIN CERTIFICATE-----")
    if begin < 0:
        raise PairError("cannot use the pair: it has no certificate")
    return make_pair(pem[:begin], pem[begin:])


def check_pair(pair: Pair, names: Sequence[str], now: float) -> None:
    """Raises PairError unless the chain holds together and the certificate is good for all `names` at `now`."""
    chain = _parse_chain(pair.chain)
    for certificate, issuer in itertools.pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise PairError(f"cannot use the chain: {_subject(issuer)} did not sign {_subject(certificate)}") from error
    own = leaf_names(pair.leaf)
    missing = [name for name in names if not any(name == one or covers(one, name) for one in own)]
    if missing:
        raise PairError(
            f"cannot use the certificate: it is for {', '.join(own) or 'no name'}, not {', '.join(missing)}"
        )
    if now >= pair.leaf.not_valid_after_utc.timestamp():
        raise PairError(f"cannot use the certificate: it expired on {pair.leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now + _CLOCK_SKEW < pair.leaf.not_valid_before_utc.timestamp():
        raise PairError(f"cannot use the certificate: it begins on {pair.leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")


def leaf_names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The names a certificate is good for, in lower case; addresses as text."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses)


def general_name(name: str) -> x509.GeneralName:
    """A name as certificates carry it."""
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def _parse_chain(chain: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise PairError(f"cannot use the certificate: {_cause(error)}") from error


def _cause(error: ValueError) -> str:
    """What the library says, without its advice to programmers."""
    return re.sub(r" See https\S+ for more details\.", "", str(error)) or "it cannot be read"


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")  # noqa: S101
    data: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or ", ".join(leaf_names(certificate)) or "a certificate"


def _issuer(leaf: x509.Certificate) -> str:
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        if found := leaf.issuer.get_attributes_for_oid(kind):
            return str(found[0].value)
    return leaf.issuer.rfc4514_string()
