"""One conversation with an ACME authority: account, order, challenges, certificate, advice, revocation.

Messages, signatures and nonces are the `acme` library's. Ours is what it lacks: `replaces`, repeated bad nonces, quick
polling, Retry-After of refusals, and challenges answered through an interface. Blocks; the caller has the deadline.
"""

import base64
import contextlib
import email.utils
import ipaddress
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from josepy import errors as jose_errors
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from fairlead import __version__
from fairlead.errors import FairleadError
from fairlead.https.model import Issuer, is_address
from fairlead.lean_dataclass import dataclass

_REQUEST_TIMEOUT = 30
_NONCE_TRIES = 20
_POLL_FIRST, _POLL_MAX = 0.1, 5.0
_NETWORK_ERRORS = (
    requests.RequestException,
    errors.Error,
    jose_errors.Error,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
T = TypeVar("T")


class AcmeError(FairleadError):
    """The authority refused (`code` is its word for why), or cannot be reached or understood (`code` is empty).

    `retry_after`: seconds it asks us to stay away, or 0.
    """

    def __init__(self, text: str, code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class ChallengeError(FairleadError):
    """An answer could not be made visible."""


class Solver(Protocol):
    """Makes one challenge's answer visible to the authority."""

    @property
    def kind(self) -> str:
        """The challenge's type: http-01 or dns-01."""

    def solve(self, name: str, token: str, key_authorization: str, txt: str) -> contextlib.AbstractContextManager[None]:
        """Shows the answer while the context is entered."""


class Order(messages.NewOrder):
    """newOrder with the certificate it replaces (RFC 9773)."""

    replaces: str | None = field("replaces", omitempty=True)


@dataclass(frozen=True, slots=True)
class Advice:
    """The issuer's renewal window, in epoch seconds; `retry_after` in seconds, 0 when it says nothing."""

    start: float
    end: float
    retry_after: float


class Network(client.ClientNetwork):
    """The library's network, which gives up after one bad nonce: authorities that reject half of them exist."""

    def __init__(self, key: JWK, ca_bundle: str) -> None:
        # requests takes a path where the library's annotation says bool.
        verify = cast("bool", ca_bundle or True)
        agent = f"fairlead/{__version__}"
        super().__init__(key, alg=ES256, verify_ssl=verify, user_agent=agent, timeout=_REQUEST_TIMEOUT)
        self.last: requests.Response | None = None
        self.session.hooks["response"].append(self._remember)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """POST; a rejected nonce is replaced and the request sent again."""
        for _ in range(_NONCE_TRIES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        raise AcmeError(f"the authority rejected {_NONCE_TRIES * 2} nonces in a row")

    def _remember(self, response: requests.Response, **_options: Any) -> None:
        self.last = response


def load_account_key(pem: bytes) -> JWK:
    """The account key of its PEM text."""
    return JWKEC(key=serialization.load_pem_private_key(pem, password=None))


class Authority:
    """An issuer's directory, spoken to with one account key."""

    def __init__(self, issuer: Issuer, url: str, key: JWK) -> None:
        self._issuer = issuer
        self._url = url
        self._key = key
        self._network = Network(key, issuer.ca_bundle)
        self._directory: dict[str, Any] = self._ask(lambda: _directory(self._network.get(url).json()))

    def use_account(self, uri: str) -> None:
        """Speaks as the account that `register` returned."""
        self._network.account = messages.RegistrationResource(uri=uri, body=messages.Registration())

    def register(self, contact: str, agree_tos: bool) -> str:
        """Makes an account with our key, or finds the one that has it; returns its address."""
        meta = self._directory["meta"]
        terms = meta.get("termsOfService")
        if terms and not agree_tos:
            raise AcmeError(f"{self._issuer.name} has terms of service, which https.agree_tos must agree to: {terms}")
        if meta.get("externalAccountRequired") and not self._issuer.eab_key_id:
            raise AcmeError(f"{self._issuer.name} needs eab_key_id and eab_hmac_key of an account made there")
        self._network.account = None
        account = messages.NewRegistration.from_data(
            email=contact or None, terms_of_service_agreed=agree_tos or None, external_account_binding=self._binding()
        )
        uri = self._location(self._post(self._directory["newAccount"], account))
        self.use_account(uri)
        return uri

    def update_contact(self, uri: str, contact: str) -> None:
        """Gives the account another contact; empty: none."""
        contacts = (f"mailto:{contact}",) if contact else ()
        self._post(uri, messages.UpdateRegistration(contact=contacts))

    def obtain(
        self,
        names: tuple[str, ...],
        key: bytes,
        solvers: dict[str, Solver],
        replaces: str | None = None,
        say: Callable[[str], None] = lambda _stage: None,
    ) -> bytes:
        """The chain (PEM) for `names` and the private `key`. `solvers` by name; `say` is told each stage."""
        order, uri = self._place(names, replaces)
        say("order")
        with contextlib.ExitStack() as shown:
            for url in order.authorizations:
                self._authorize(url, solvers, shown, say)
            order = self._poll(uri, messages.Order, (messages.STATUS_PENDING, messages.STATUS_PROCESSING))
        self._refuse(order.error, order.status)
        if order.status == messages.STATUS_READY:
            say("finalize")
            # Read, though it is polled for anyway: an authority that did not understand would be polled for ever.
            self._read(
                self._post(order.finalize, messages.CertificateRequest(csr=_request(key, names))), messages.Order
            )
            order = self._poll(uri, messages.Order, (messages.STATUS_READY, messages.STATUS_PROCESSING))
            self._refuse(order.error, order.status)
        say("download")
        return bytes(self._post(order.certificate, None).content)

    def advice(self, leaf: x509.Certificate) -> Advice | None:
        """The issuer's renewal window for a certificate; None when it gives no such advice."""
        base, name = self._directory.get("renewalInfo"), advice_id(leaf)
        if not base or not name:
            return None
        response = self._ask(lambda: self._network.get(f"{base}/{name}"))
        window = self._read(response, messages.RenewalInfo).suggested_window
        return Advice(window.start.timestamp(), window.end.timestamp(), _retry_after(response))

    def revoke(self, leaf: x509.Certificate) -> None:
        """Revokes a certificate that this account obtained."""
        self._post(self._directory["revokeCert"], messages.Revocation(certificate=leaf, reason=0))

    def _binding(self) -> dict[str, Any] | None:
        if not self._issuer.eab_key_id:
            return None
        issuer, directory = self._issuer, messages.Directory(self._directory)
        public = self._key.public_key()
        return messages.ExternalAccountBinding.from_data(public, issuer.eab_key_id, issuer.eab_hmac_key, directory)

    def _place(self, names: tuple[str, ...], replaces: str | None) -> tuple[Any, str]:
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if is_address(name) else messages.IDENTIFIER_FQDN, value=name
            )
            for name in names
        ]
        replaces = replaces if "renewalInfo" in self._directory else None
        order = Order(identifiers=identifiers, profile=self._profile(names), replaces=replaces)
        response = self._post(self._directory["newOrder"], order)
        return self._read(response, messages.Order), self._location(response)

    def _profile(self, names: tuple[str, ...]) -> str | None:
        offered = self._directory["meta"].get("profiles") or {}
        wanted = self._issuer.profile
        if wanted and wanted not in offered:
            raise AcmeError(f"{self._issuer.name} has no profile {wanted!r}; allowed: {', '.join(offered) or 'none'}")
        for_addresses = self._issuer.ip_profile if any(map(is_address, names)) else ""
        return wanted or (for_addresses if for_addresses in offered else None)

    def _authorize(
        self, url: str, solvers: dict[str, Solver], shown: contextlib.ExitStack, say: Callable[[str], None]
    ) -> None:
        authorization, _response = self._fetch(url, messages.Authorization)
        name = authorization.identifier.value
        if authorization.status == messages.STATUS_VALID:
            return
        solver = solvers[f"*.{name}" if authorization.wildcard else name]
        offered = [body for body in authorization.challenges if body.chall.typ == solver.kind]
        if not offered:
            kinds = ", ".join(body.chall.typ for body in authorization.challenges)
            text = f"{self._issuer.name} offers no {solver.kind} challenge for {name}, but {kinds}"
            raise AcmeError(text, "unauthorized")
        challenge = offered[0].chall
        answer = challenge.key_authorization(self._key)
        txt = challenge.validation(self._key) if isinstance(challenge, challenges.DNS01) else ""
        shown.enter_context(solver.solve(name, challenge.encode("token"), answer, txt))
        say(f"challenge {solver.kind} for {name}")
        self._post(offered[0].uri, challenge.response(self._key))
        authorization = self._poll(url, messages.Authorization, (messages.STATUS_PENDING, messages.STATUS_PROCESSING))
        if authorization.status != messages.STATUS_VALID:
            causes = [str(body.error.detail) for body in authorization.challenges if body.error]
            cause = "; ".join(causes) or authorization.status.name
            raise AcmeError(f"{self._issuer.name} refused {name}: {cause}", "unauthorized")

    def _refuse(self, error: messages.Error | None, status: messages.Status) -> None:
        if status not in (messages.STATUS_READY, messages.STATUS_VALID):
            cause = error.detail if error else f"the order is {status.name}"
            raise AcmeError(f"{self._issuer.name} did not issue: {cause}", "unauthorized")

    def _fetch(self, url: str, kind: Any) -> tuple[Any, requests.Response]:
        response = self._post(url, None)
        return self._read(response, kind), response

    def _read(self, response: requests.Response, kind: Any) -> Any:
        return self._ask(lambda: kind.from_json({**response.json()}), response)

    def _poll(self, url: str, kind: Any, waiting: tuple[messages.Status, ...]) -> Any:
        """Fetches until the status is none of `waiting`: soon at first, then seldom, or as Retry-After says."""
        pause = _POLL_FIRST
        while True:
            found, response = self._fetch(url, kind)
            if found.status not in waiting:
                return found
            time.sleep(min(_retry_after(response), 60.0) or pause)
            pause = min(pause * 1.5, _POLL_MAX)

    def _location(self, response: requests.Response) -> str:
        return self._ask(lambda: response.headers["Location"], response)

    def _post(self, url: str, body: Any) -> requests.Response:
        return self._ask(lambda: self._network.post(url, body, new_nonce_url=self._directory["newNonce"]))

    def _ask(self, call: Callable[[], T], about: requests.Response | None = None) -> T:
        """What `call` returns; everything that can go wrong with a network or an authority becomes an AcmeError.

        `about`: the response that `call` reads; None for a call that asks the authority.
        """
        self._network.last = about
        try:
            return call()
        except AcmeError:
            raise
        except messages.Error as error:
            after = _retry_after(self._network.last) if self._network.last is not None else 0.0
            text = f"{self._issuer.name} refused: {error.detail or error.typ}"
            raise AcmeError(text, error.typ.rsplit(":", 1)[-1], after) from error
        except _NETWORK_ERRORS as error:
            raise self._unclear(error) from error

    def _unclear(self, error: Exception) -> AcmeError:
        last = self._network.last
        if last is None:
            return AcmeError(f"{self._issuer.name} cannot be reached at {self._url}: {_innermost(error)}")
        text = f"{self._issuer.name} answered {last.status_code} at {last.url}, which cannot be understood"
        return AcmeError(text, retry_after=_retry_after(last))


def _directory(body: Any) -> dict[str, Any]:
    """A directory with all that is needed in it; KeyError, TypeError when the body is none."""
    for name in ("newNonce", "newAccount", "newOrder", "revokeCert"):
        if not isinstance(body[name], str):
            raise TypeError(f"{name} is no address")
    return {**body, "meta": dict(body.get("meta") or {})}


def advice_id(leaf: x509.Certificate) -> str | None:
    """How RFC 9773 names a certificate: its authority's key identifier and its serial number; None without the former."""
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    # One more bit than the number has: the encoding is signed.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (authority or b"", serial))


def _request(key: bytes, names: tuple[str, ...]) -> x509.CertificateSigningRequest:
    addresses = [ipaddress.ip_address(name) for name in names if is_address(name)]
    domains = [name for name in names if not is_address(name)]
    return x509.load_pem_x509_csr(crypto_util.make_csr(key, domains=domains, ipaddrs=addresses))


def _retry_after(response: requests.Response) -> float:
    """Seconds of a Retry-After header, given as seconds or as a date; 0 without one or with nonsense in it."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
