"""Whether a TXT record is visible at a zone's own name servers: an authority asks one of them, whichever it likes."""

import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from fairlead.https.model import DnsPlan

_log = logging.getLogger(__name__)
_ANSWER = 3.0
"""Seconds for one answer of a name server."""
_PAUSE = 0.1
_PAUSE_MAX = 5.0
Place = tuple[str, int]
"""A name server: address and port."""


def await_sight(plan: DnsPlan, zone: dns.name.Name, record: dns.name.Name, txt: str) -> list[str]:
    """Waits until every name server that answers shows the value. Returns the names of those that at the deadline do not.

    One that never answers is left out, and said: what we cannot reach, such as one by IPv6, the authority may.
    """
    places = list(dict.fromkeys([(plan.server, plan.port), *(plan.nameservers or name_servers(plan, zone))]))
    missing, silent = places, list[Place]()
    pause, end = _PAUSE, time.monotonic() + plan.propagation_timeout
    while True:
        seen = {place: _shows(place, record, txt) for place in missing}
        missing = [place for place in missing if not seen[place]]
        silent = [place for place in missing if seen[place] is None]
        if not missing or (missing == silent and len(silent) < len(places)) or time.monotonic() + pause > end:
            break
        time.sleep(pause)
        pause = min(pause * 1.5, _PAUSE_MAX)
    for address, port in silent:
        _log.warning(
            "the name server %s port %d does not answer: whether it shows %s is not known", address, port, record
        )
    # Silence everywhere is no sight of the record.
    late = missing if len(silent) == len(places) else [place for place in missing if place not in silent]
    return [f"{address} port {port}" for address, port in late]


def _shows(place: Place, record: dns.name.Name, txt: str) -> bool | None:
    """Whether a name server shows the value; None when it does not answer."""
    answer = _ask(place, record, "TXT")
    if answer is None or answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    values = (b"".join(item.strings) for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT for item in rrset)
    return txt.encode() in values


def name_servers(plan: DnsPlan, zone: dns.name.Name) -> Iterable[Place]:
    """All addresses of the zone's name servers, as the primary names them and else as this machine finds them."""
    home = (plan.server, plan.port)
    answer = _ask(home, zone, "NS")
    names = (
        [item.target for rrset in answer.answer if rrset.rdtype == dns.rdatatype.NS for item in rrset] if answer else []
    )
    for name in names:
        found = [item.address for kind in ("A", "AAAA") for item in _records(_ask(home, name, kind), kind)]
        for address in found or _resolve(name.to_text(omit_final_dot=True)):
            yield address, 53


def _records(answer: dns.message.Message | None, kind: str) -> Iterable[Any]:
    wanted = dns.rdatatype.from_text(kind)
    return [item for rrset in answer.answer if rrset.rdtype == wanted for item in rrset] if answer else []


def _resolve(name: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, 53, type=socket.SOCK_DGRAM)]
    except OSError:
        return []


def _ask(place: Place, name: dns.name.Name, kind: str) -> dns.message.Message | None:
    query = dns.message.make_query(name, kind)
    # Of a name server with authority nothing is recursive.
    query.flags &= ~dns.flags.RD
    try:
        return dns.query.udp_with_fallback(query, place[0], timeout=_ANSWER, port=place[1])[0]
    except (dns.exception.DNSException, OSError, ValueError):
        return None
