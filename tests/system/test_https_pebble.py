"""The certificate agent against a real authority: Pebble."""

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_fixture import finish, https_plan, job_of, run_agent, start_agent
from cryptography import x509
from pebble_fixture import Pebble, needs_pebble, plain_http, running_pebble

from fairlead.https.model import CertificatePlan, HttpsPlan
from fairlead.https.pairs import split_pair
from fairlead.https.redirect import Answers
from fairlead.https.store import Store

pytestmark = [needs_pebble, pytest.mark.root]


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, pebble: Pebble) -> Iterator[Store]:
    store = Store.open(tmp_path / "store")
    with plain_http(Answers(store, lambda: (), 443), pebble.http_port):
        yield store


def chain_is_trusted(store: Store, https: HttpsPlan, roots: bytes) -> None:
    pair = split_pair(store.read_pair(https.certificates[0].key))
    builder = x509.verification.PolicyBuilder().store(x509.verification.Store(x509.load_pem_x509_certificates(roots)))
    chain = x509.load_pem_x509_certificates(pair.chain)
    names = https.certificates[0].names
    builder.build_server_verifier(x509.DNSName(names[0])).verify(chain[0], chain[1:])


def test_first_certificate_is_obtained_by_http_01(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "first.example", issuers=(pebble.issuer(),))
    began = time.monotonic()
    stages, result = run_agent(job_of(https))
    took = time.monotonic() - began
    assert (result.outcome, result.error) == ("obtained", "")
    assert stages == ["account", "order", "challenge http-01 for first.example", "finalize", "download"]
    assert result.state.names == ("first.example",)
    assert result.state == store.state(https.certificates[0].key)
    # The aim is three seconds, which scripts/bench looks at: tests share their machine.
    assert took < 10
    chain_is_trusted(store, https, pebble.roots())
    assert not list((store.root / "challenges").iterdir())


def test_second_run_finds_nothing_due_and_asks_nobody(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "again.example", issuers=(pebble.issuer(),))
    first = run_agent(job_of(https))[1]
    stages, second = run_agent(job_of(https))
    assert (stages, second.outcome, second.state) == ([], "unchanged", first.state)


def test_forced_renewal_has_a_fresh_key_and_keeps_the_account(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "forced.example", issuers=(pebble.issuer(),))
    run_agent(job_of(https))
    before = split_pair(store.read_pair("acme/forced.example"))
    stages, result = run_agent(job_of(https, asked=True, force=True))
    after = split_pair(store.read_pair("acme/forced.example"))
    assert result.outcome == "obtained"
    assert "account" not in stages
    assert after.key != before.key
    assert after.leaf.serial_number != before.leaf.serial_number


def test_one_certificate_for_two_names(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "one.example", "two.example", issuers=(pebble.issuer(),))
    _stages, result = run_agent(job_of(https))
    assert set(result.state.names) == {"one.example", "two.example"}


def test_address_as_a_name(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "127.0.0.1", issuers=(pebble.issuer(),))
    _stages, result = run_agent(job_of(https))
    assert (result.outcome, result.state.names) == ("obtained", ("127.0.0.1",))


def test_name_that_does_not_lead_here_is_a_failure_with_its_cause(store: Store, pebble: Pebble) -> None:
    elsewhere = Store.open(store.root.parent / "elsewhere")
    https = https_plan(elsewhere.root, "not-here.example", issuers=(pebble.issuer(),))
    _stages, result = run_agent(job_of(https))
    assert result.outcome == "failed"
    assert "pebble refused not-here.example" in result.error
    assert result.state.failures == 1
    assert 50 < result.state.next_attempt - time.time() < 61
    assert result.state == elsewhere.state("acme/not-here.example")
    assert not list((elsewhere.root / "challenges").iterdir())


def test_retry_asks_the_staging_directory_first(store: Store, pebble: Pebble, tmp_path: Path) -> None:
    with running_pebble(tmp_path / "staging", ports=None) as staging:
        issuer = replace(pebble.issuer(), staging_url=staging.directory_url)
        bundle = tmp_path / "both.pem"
        bundle.write_bytes(pebble.ca_bundle.read_bytes() + staging.ca_bundle.read_bytes())
        https = https_plan(store.root, "retry.example", issuers=(replace(issuer, ca_bundle=str(bundle)),))
        state = replace(store.state("acme/retry.example"), failures=1)
        store.write_state("acme/retry.example", state)
        stages, result = run_agent(job_of(https))
        # The staging authority validates on a port where nobody answers: its refusal spares the real one.
        assert result.outcome == "failed"
        assert stages[0] == "trial"
        assert "finalize" not in stages
        with plain_http(Answers(store, lambda: (), 443), staging.http_port):
            stages, result = run_agent(job_of(https, asked=True))
    assert result.outcome == "obtained"
    assert (stages[0], stages.count("download")) == ("trial", 2)
    assert result.state.directory == pebble.directory_url


def test_revoked_certificate_is_revoked_at_the_authority_and_due(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "revoked.example", issuers=(pebble.issuer(),))
    obtained = run_agent(job_of(https))[1]
    result = run_agent(job_of(https, "revoke"))[1]
    assert (result.outcome, result.state.revoked) == ("revoked", True)
    assert pebble.status(obtained.state.serial) == "Revoked"
    renewed = run_agent(job_of(https))[1]
    assert (renewed.outcome, renewed.state.revoked) == ("obtained", False)
    assert renewed.state.serial != obtained.state.serial


def test_two_agents_sharing_a_store_place_one_order(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "shared.example", issuers=(pebble.issuer(),))
    agents = [start_agent(job_of(https)) for _ in range(2)]
    ends = [finish(agent) for agent in agents]
    assert sorted(result.outcome for _stages, result in ends) == ["obtained", "unchanged"]
    assert sum(stages.count("order") for stages, _result in ends) == 1
    assert ends[0][1].state == ends[1][1].state


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_agent_ended_in_the_middle_of_an_order_is_followed_by_no_second_order(
    store: Store, pebble: Pebble, number: int
) -> None:
    https = https_plan(store.root, f"ended-{number}.example", issuers=(pebble.issuer(),))
    agent = start_agent(job_of(https))
    assert agent.stdout is not None
    for line in agent.stdout:
        if '"order"' in line:
            break
    os.kill(agent.pid, number)
    agent.communicate(timeout=20)
    key = https.certificates[0].key
    assert store.state(key).failures == 1
    assert store.read_pair(key) is None
    stages, result = run_agent(job_of(https))
    assert (stages, result.outcome) == ([], "unchanged")
    later = replace(store.state(key), last_attempt=time.time() - 61, next_attempt=time.time() - 1)
    store.write_state(key, later)
    assert run_agent(job_of(https))[1].outcome == "obtained"


def test_state_that_fell_behind_its_certificate_is_put_right_without_an_order(store: Store, pebble: Pebble) -> None:
    https = https_plan(store.root, "behind.example", issuers=(pebble.issuer(),))
    obtained = run_agent(job_of(https))[1]
    stale = replace(obtained.state, not_after=1.0, not_before=0.0, failures=1, serial="ff")
    store.write_state("acme/behind.example", stale)
    stages, result = run_agent(job_of(https))
    assert (stages, result.outcome) == ([], "unchanged")
    assert result.state.not_after == obtained.state.not_after
    assert result.state.failures == 0


def test_full_disk_is_noticed_before_an_order_is_placed(tmp_path: Path, pebble: Pebble) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", small], check=True)
    try:
        store = Store.open(small / "store")
        (small / "filler").write_bytes(b"x" * 80 * 1024)
        https = https_plan(store.root, "full.example", issuers=(pebble.issuer(),))
        stages, result = run_agent(job_of(https))
        assert (stages, result.outcome) == ([], "failed")
        assert "No space left on device" in result.error
        assert not (store.root / "accounts").exists()
    finally:
        subprocess.run(["umount", small], check=True)


def test_half_of_all_nonces_rejected(tmp_path: Path) -> None:
    with running_pebble(tmp_path / "pebble", environment={"PEBBLE_WFE_NONCEREJECT": "50"}) as pebble:
        store = Store.open(tmp_path / "store")
        with plain_http(Answers(store, lambda: (), 443), pebble.http_port):
            for number in range(3):
                https = https_plan(store.root, f"nonce{number}.example", issuers=(pebble.issuer(),))
                assert run_agent(job_of(https))[1].error == ""


def test_account_is_made_again_when_the_authority_forgot_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with running_pebble(tmp_path / "pebble") as first:
        https = https_plan(store.root, "forgot.example", issuers=(first.issuer(),))
        with plain_http(Answers(store, lambda: (), 443), first.http_port):
            assert run_agent(job_of(https))[1].outcome == "obtained"
        port = int(first.directory_url.rsplit(":", 1)[1].split("/")[0])
        ports = (port, int(first.management_url.rsplit(":", 1)[1]), first.http_port)
    with running_pebble(tmp_path / "pebble", ports=ports), plain_http(Answers(store, lambda: (), 443), ports[2]):
        stages, result = run_agent(job_of(https, force=True))
    assert (result.outcome, result.error) == ("obtained", "")
    assert stages.count("account") == 1


def test_authority_down_then_up_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with running_pebble(tmp_path / "pebble") as pebble:
        https = https_plan(store.root, "down.example", issuers=(pebble.issuer(),))
        port = int(pebble.directory_url.rsplit(":", 1)[1].split("/")[0])
        ports = (port, int(pebble.management_url.rsplit(":", 1)[1]), pebble.http_port)
    result = run_agent(job_of(https))[1]
    assert result.outcome == "failed"
    assert "pebble cannot be reached" in result.error
    with running_pebble(tmp_path / "pebble", ports=ports), plain_http(Answers(store, lambda: (), 443), ports[2]):
        assert run_agent(job_of(https, asked=True))[1].outcome == "obtained"


def test_external_account_is_bound(tmp_path: Path) -> None:
    keys = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
    with running_pebble(tmp_path / "pebble", eab=keys) as pebble:
        store = Store.open(tmp_path / "store")
        with plain_http(Answers(store, lambda: (), 443), pebble.http_port):
            https = https_plan(store.root, "eab.example", issuers=(pebble.issuer(),))
            without = run_agent(job_of(https))[1]
            bound = pebble.issuer(eab_key_id="kid-1", eab_hmac_key=keys["kid-1"])
            result = run_agent(job_of(replace(https, issuers=(bound,)), asked=True))[1]
    assert "needs eab_key_id" in without.error
    assert result.outcome == "obtained"


def test_certbot_gets_a_certificate_from_the_same_authority(tmp_path: Path, pebble: Pebble, store: Store) -> None:
    """Our responder serves what another client put there, so the authority sees no difference between the two."""
    certbot = "/usr/bin/certbot"
    if not Path(certbot).exists():
        pytest.skip("the Debian package certbot is not installed")
    hook = tmp_path / "hook"
    hook.write_text(
        f'#!/bin/sh\numask 077; mkdir -p {store.root}/challenges; printf %s "$CERTBOT_VALIDATION" > '
        f"{store.root}/challenges/$CERTBOT_TOKEN\n"
    )
    hook.chmod(0o700)
    command = [certbot, "certonly", "--manual", "--preferred-challenges", "http", "--manual-auth-hook", str(hook)]
    command += [
        "--server",
        pebble.directory_url,
        "--agree-tos",
        "--register-unsafely-without-email",
        "-n",
        "-d",
        "cb.example",
    ]
    for folder in ("config", "work", "logs"):
        command += [f"--{folder}-dir", str(tmp_path / folder)]
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(pebble.ca_bundle)}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=90)
    # What certbot obtained can be served as files.
    live = tmp_path / "config/live/cb.example"
    plan = CertificatePlan("files", ("cb.example",), str(live / "fullchain.pem"), str(live / "privkey.pem"))
    https = HttpsPlan(store=str(store.root), certificates=(plan,))
    result = run_agent(job_of(https))[1]
    assert (result.outcome, result.state.names) == ("obtained", ("cb.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(store.pair_path(plan.key))
