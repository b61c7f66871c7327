"""DNS-01 by DNS UPDATE (RFC 2136), signed with TSIG, over TCP."""

import contextlib
import logging
import time
from collections.abc import Iterator

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsigkeyring
import dns.update

from fairlead.https.acme_client import ChallengeError
from fairlead.https.dns_sight import await_sight
from fairlead.https.model import DnsPlan
from fairlead.lean_dataclass import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateSolver:
    """Adds and removes the TXT record; the zone is found when it is not given."""

    plan: DnsPlan
    kind: str = "dns-01"

    @contextlib.contextmanager
    def solve(self, name: str, token: str, key_authorization: str, txt: str) -> Iterator[None]:  # noqa: ARG002
        """Shows the answer while the context is entered. Other values of the record are left alone."""
        record = dns.name.from_text(f"_acme-challenge.{name}")
        zone = dns.name.from_text(self.plan.zone) if self.plan.zone else self._find_zone(record)
        self._update(zone, record, txt, add=True)
        try:
            if self.plan.propagation_timeout:
                self._await_sight(zone, record, txt)
            time.sleep(self.plan.propagation_wait)
            yield
        finally:
            try:
                self._update(zone, record, txt, add=False)
            except ChallengeError as error:
                # The record is good for nothing any more, so leaving it behind is no reason to fail.
                _log.warning("cannot clean up: %s", error)

    def _await_sight(self, zone: dns.name.Name, record: dns.name.Name, txt: str) -> None:
        if late := await_sight(self.plan, zone, record, txt):
            within = f"{self.plan.propagation_timeout:g} seconds (https.dns.propagation_timeout)"
            raise ChallengeError(f"cannot show {record}: not visible within {within} at {', '.join(late)}")

    def _find_zone(self, record: dns.name.Name) -> dns.name.Name:
        """The closest name above the record of which the server has the SOA."""
        candidate = record
        while len(candidate) > 1:
            answer = self._ask(dns.message.make_query(candidate, "SOA"))
            if answer.get_rrset(answer.answer, candidate, dns.rdataclass.IN, dns.rdatatype.SOA):
                return candidate
            candidate = candidate.parent()
        raise ChallengeError(f"cannot set {record}: {self.plan.server} has no zone above it; https.dns.zone names one")

    def _update(self, zone: dns.name.Name, record: dns.name.Name, txt: str, *, add: bool) -> None:
        ring = dns.tsigkeyring.from_text({self.plan.key_name: self.plan.key_secret})
        update = dns.update.UpdateMessage(zone, keyring=ring, keyalgorithm=self.plan.key_algorithm)
        if add:
            update.add(record, self.plan.ttl, "TXT", txt)
        else:
            update.delete(record, "TXT", txt)
        answer = self._ask(update)
        if answer.rcode() != dns.rcode.NOERROR:
            cause = dns.rcode.to_text(answer.rcode())
            raise ChallengeError(f"cannot set {record}: {self.plan.server} answered {cause}")

    def _ask(self, message: dns.message.Message) -> dns.message.Message:
        try:
            return dns.query.tcp(message, self.plan.server, timeout=self.plan.timeout, port=self.plan.port)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise ChallengeError(f"cannot use the name server {self.plan.server}: {error}") from error
