"""Obtaining a certificate from an ACME issuer: account, trial, order, checks, and what is remembered of each end."""

import hashlib
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from josepy.jwk import JWK

from fairlead.errors import FairleadError
from fairlead.https import policy
from fairlead.https.acme_client import AcmeError, Authority, advice_id, load_account_key
from fairlead.https.model import CertificateState, Issuer, Result
from fairlead.https.pairs import Pair, check_pair, make_pair, new_key, split_pair
from fairlead.https.solvers import solvers
from fairlead.https.store import StoreError

if TYPE_CHECKING:
    from fairlead.https.agent import Run

T = TypeVar("T")
_TRIAL_SAYS_NOTHING = ("", "serverInternal", "rateLimited")
"""Codes with which a staging directory says something about itself, and nothing about our names."""


class Ordering:
    """The ACME side of one `agent.Run`, whose certificate is known as `state`."""

    def __init__(self, run: "Run", state: CertificateState) -> None:
        self._run = run
        self._state = state
        self._key = run.plan.key

    def obtain(self) -> Result:
        """Places an order with the issuer whose turn it is. The failure is remembered before the order is placed."""
        run, state = self._run, self._state
        issuers = run.https.issuers
        issuer = policy.choose_issuer(issuers, state, run.now())
        run.store.write_state(self._key, policy.begun(state, run.now(), issuers))
        try:
            if policy.retry_uses_staging(state, issuer):
                self._try(issuer)
            replaces = self._replaced() if policy.may_replace(state, issuer) else None
            pair = self._order(issuer, issuer.directory_url, replaces)
            check_pair(pair, run.plan.names, run.now())
        except FairleadError as error:
            after = error.retry_after if isinstance(error, AcmeError) else 0.0
            return run.fail(policy.failed(state, run.now(), str(error), issuers, issuer, after))
        run.store.write_pair(self._key, pair.pem)
        fresh = replace(pair.describe(state), directory=issuer.directory_url, ari_time=0.0, ari_check=0.0)
        result = run.succeed(fresh)
        # The certificate is in the store by now: whatever becomes of the advice, it is in use.
        advised = self.advised(result.state)
        run.store.write_state(self._key, advised)
        return replace(result, state=advised)

    def advised(self, state: CertificateState) -> CertificateState:
        """The state with its issuer's renewal window; unchanged but for the next time to ask when that fails."""
        run = self._run
        issuer = self._issuer_of(state)
        leaf = self._pair().leaf
        if issuer is None or advice_id(leaf) is None:
            return replace(state, ari_check=0.0)
        try:
            with run.store.lock(self._account_folder(issuer.directory_url) + "/lock"):
                authority = Authority(issuer, issuer.directory_url, self._account_key(issuer.directory_url))
            advice = authority.advice(leaf)
        except FairleadError:
            return replace(state, ari_check=run.now() + policy.ARI_INTERVAL)
        if advice is None:
            return replace(state, ari_time=0.0, ari_check=0.0)
        return policy.advised(state, run.now(), advice.start, advice.end, advice.retry_after, run.chance)

    def revoke(self) -> None:
        """Revokes the certificate in the store; FairleadError when its issuer does not, or is not known any more."""
        issuer = self._issuer_of(self._state)
        if issuer is None:
            raise FairleadError(f"cannot revoke {self._run.plan.title}: no issuer of https.issuers made it")
        leaf = self._pair().leaf
        self._with_account(issuer, issuer.directory_url, lambda authority: authority.revoke(leaf))

    def _try(self, issuer: Issuer) -> None:
        """A rehearsal with the issuer's staging directory: what would fail there is not asked of the real one."""
        self._run.say("trial")
        try:
            self._order(issuer, issuer.staging_url, None)
        except AcmeError as error:
            if error.code not in _TRIAL_SAYS_NOTHING:
                raise

    def _order(self, issuer: Issuer, url: str, replaces: str | None) -> Pair:
        run, key = self._run, new_key()
        answered = solvers(run.https, run.plan, run.store)
        names = run.plan.names
        chain = self._with_account(issuer, url, lambda one: one.obtain(names, key, answered, replaces, run.say))
        return make_pair(key, chain)

    def _with_account(self, issuer: Issuer, url: str, call: Callable[[Authority], T]) -> T:
        """What `call` returns for the authority; an account that it no longer knows is made again, once."""
        try:
            return call(self._authority(issuer, url))
        except AcmeError as error:
            if error.code != "accountDoesNotExist":
                raise
        self._run.store.delete(self._account_folder(url) + "/account.json")
        return call(self._authority(issuer, url))

    def _authority(self, issuer: Issuer, url: str) -> Authority:
        """The authority, spoken to with our account there, which is made when there is none."""
        store, folder, email = self._run.store, self._account_folder(url), self._run.https.email
        with store.lock(f"{folder}/lock"):
            authority = Authority(issuer, url, self._account_key(url))
            account = self._account(folder)
            if account is None:
                self._run.say("account")
                account = (authority.register(email, self._run.https.agree_tos), email)
            else:
                authority.use_account(account[0])
                if account[1] != email:
                    authority.update_contact(account[0], email)
            store.write(f"{folder}/account.json", json.dumps({"uri": account[0], "contact": email}).encode() + b"\n")
        return authority

    def _account(self, folder: str) -> tuple[str, str] | None:
        data = self._run.store.read(f"{folder}/account.json")
        if data is None:
            return None
        try:
            account = json.loads(data)
            return str(account["uri"]), str(account["contact"])
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"cannot read {self._run.store.root / folder / 'account.json'}: {error}") from error

    def _account_key(self, url: str) -> JWK:
        store, name = self._run.store, self._account_folder(url) + "/key.pem"
        pem = store.read(name)
        if pem is None:
            pem = new_key()
            store.write(name, pem)
        return load_account_key(pem)

    @staticmethod
    def _account_folder(url: str) -> str:
        host = urllib.parse.urlsplit(url).hostname or "issuer"
        return f"accounts/{host}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def _issuer_of(self, state: CertificateState) -> Issuer | None:
        return next((one for one in self._run.https.issuers if one.directory_url == state.directory), None)

    def _pair(self) -> Pair:
        pem = self._run.store.read_pair(self._key)
        if pem is None:
            raise FairleadError(f"cannot use {self._run.plan.title}: there is no certificate yet")
        return split_pair(pem)

    def _replaced(self) -> str | None:
        return advice_id(self._pair().leaf)
