"""Where plain HTTP reaches the app, ACME's challenges are answered before it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairlead.https.model import CertificatePlan, HttpsPlan
from fairlead.https.store import Store
from fairlead.plan.model import AppPlan, Plan
from fairlead.worker.edge import guard

TOKEN, ANSWER = "token-1", "token-1.thumb"


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"the app's"})


def asked(store: Store, https: HttpsPlan) -> bytes:
    """The body that a client of the challenge's address gets."""
    store.write_challenge(https.certificates[0].key, TOKEN, ANSWER)
    guarded = guard(app, Plan("x", AppPlan("main:app"), (), "/run", https=https))
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": f"/.well-known/acme-challenge/{TOKEN}"}
    asyncio.run(guarded(scope, None, send))
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(("source", "challenge"), [("acme", "http-01"), ("acme", "dns-01")])
def test_challenge_is_answered_also_beside_dns_because_addresses_have_no_records(
    tmp_path: Path, source: str, challenge: str
) -> None:
    store = Store.open(tmp_path / "store")
    https = HttpsPlan(str(store.root), (CertificatePlan(source, ("192.0.2.1",)),), challenge=challenge, http="serve")
    assert asked(store, https) == ANSWER.encode()


def test_app_has_every_path_when_no_certificate_is_from_an_authority(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    https = HttpsPlan(str(store.root), (CertificatePlan("internal", ("a.test",)),), http="serve")
    assert asked(store, https) == b"the app's"
