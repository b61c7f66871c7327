"""How challenges are answered: HTTP-01 through the store, DNS-01 by a command, or as `dns_update` does."""

import contextlib
import logging
import subprocess
import time
from collections.abc import Iterator

from fairlead.https.acme_client import ChallengeError, Solver
from fairlead.https.commands import run_command
from fairlead.https.model import CertificatePlan, DnsPlan, HttpsPlan, is_address
from fairlead.https.store import Store
from fairlead.lean_dataclass import dataclass

_log = logging.getLogger(__name__)


def solvers(https: HttpsPlan, certificate: CertificatePlan, store: Store) -> dict[str, Solver]:
    """For each name of a certificate, who answers its challenge. An address has no DNS records, so it is HTTP-01."""
    http: Solver = HttpSolver(store, certificate.key)
    other: Solver = http
    if https.challenge == "dns-01":
        other = _update_solver(https.dns) if https.dns.provider == "rfc2136" else CommandSolver(https.dns)
    return {name: http if is_address(name) else other for name in certificate.names}


def _update_solver(plan: DnsPlan) -> Solver:
    # Imported here: only one of three ways needs a DNS library, and the first certificate is waited for.
    from fairlead.https.dns_update import UpdateSolver

    return UpdateSolver(plan)


@dataclass(frozen=True, slots=True)
class HttpSolver:
    """Puts the answer into the store, where whoever listens on port 80 finds it."""

    store: Store
    key: str
    kind: str = "http-01"

    @contextlib.contextmanager
    def solve(self, name: str, token: str, key_authorization: str, txt: str) -> Iterator[None]:  # noqa: ARG002
        """Shows the answer while the context is entered."""
        self.store.write_challenge(self.key, token, key_authorization)
        try:
            yield
        finally:
            self.store.delete_challenge(self.key, token)


@dataclass(frozen=True, slots=True)
class CommandSolver:
    """Runs the user's commands to set and remove the TXT record."""

    plan: DnsPlan
    kind: str = "dns-01"

    @contextlib.contextmanager
    def solve(self, name: str, token: str, key_authorization: str, txt: str) -> Iterator[None]:  # noqa: ARG002
        """Shows the answer while the context is entered."""
        environment = {"FAIRLEAD_DOMAIN": name, "FAIRLEAD_RECORD": f"_acme-challenge.{name}", "FAIRLEAD_VALUE": txt}
        try:
            self._run(self.plan.present, environment)
            time.sleep(self.plan.propagation_wait)
            yield
        finally:
            if self.plan.cleanup:
                self._clean_up(environment)

    def _clean_up(self, environment: dict[str, str]) -> None:
        try:
            self._run(self.plan.cleanup, environment)
        except ChallengeError as error:
            # The record is good for nothing any more, so leaving it behind is no reason to fail.
            _log.warning("cannot clean up: %s", error)

    def _run(self, command: tuple[str, ...], environment: dict[str, str]) -> None:
        try:
            code, output = run_command(command, environment, self.plan.timeout)
        except OSError as error:
            raise ChallengeError(f"cannot run {command[0]}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            text = f"{command[0]} took longer than {self.plan.timeout:g} s (https.dns.timeout)"
            raise ChallengeError(f"cannot set the DNS record: {text} and was killed") from error
        if code:
            raise ChallengeError(f"cannot set the DNS record: {command[0]} ended with {code}: {output[-300:]}")
