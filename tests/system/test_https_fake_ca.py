"""The certificate agent against an authority that misbehaves, and one that gives advice and has profiles."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_fixture import https_plan, job_of, run_agent, start_agent
from fake_ca_fixture import FakeCa, problem, running_fake_ca, unbase64

from fairlead.https.model import HttpsPlan, Issuer
from fairlead.https.pairs import split_pair
from fairlead.https.store import Store

KEY = "acme/www.example"


@pytest.fixture
def ca() -> Iterator[FakeCa]:
    with running_fake_ca() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def https(ca: FakeCa, store: Store) -> HttpsPlan:
    return https_plan(store.root, "www.example", issuers=(ca.issuer(),))


def test_retry_after_of_a_rate_limit_is_waited_for(ca: FakeCa, https: HttpsPlan) -> None:
    ca.faults["order"].append(problem(429, "rateLimited", "too many certificates", **{"Retry-After": "7200"}))
    result = run_agent(job_of(https))[1]
    assert result.error == "fake refused: too many certificates"
    assert 7190 < result.state.next_attempt - time.time() <= 7200
    assert run_agent(job_of(https))[1].outcome == "unchanged"
    assert len(ca.orders) == 1


def test_retry_after_may_be_a_date(ca: FakeCa, https: HttpsPlan) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    ca.faults["order"].append(problem(503, "rateLimited", "busy", **{"Retry-After": date}))
    result = run_agent(job_of(https))[1]
    assert 3590 < result.state.next_attempt - time.time() <= 3601


NONSENSE = {
    "500": problem(500, "serverInternal", "out of order"),
    "502": (502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"),
    "html": (200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel</html>"),
    "wrong-json": (200, {"Content-Type": "application/json"}, b'{"status": 7, "newNonce": [], "authorizations": 5}'),
    "list": (200, {"Content-Type": "application/json"}, b"[]"),
    "bytes": (200, {}, b"\x00\xff" * 500),
}
PLACES = [
    *((place, fault) for place in ("directory", "account", "order", "finalize", "certificate") for fault in NONSENSE),
    *(("nonce", fault) for fault in ("500", "502")),
]


@pytest.mark.parametrize(("place", "fault"), PLACES)
def test_nonsense_is_a_failure_that_is_told_and_remembered(
    ca: FakeCa, store: Store, https: HttpsPlan, place: str, fault: str
) -> None:
    ca.faults[place] += [NONSENSE[fault]] * 3
    result = run_agent(job_of(https))[1]
    assert result.outcome == "failed"
    assert result.error.startswith(("fake refused", "fake answered", "cannot use the certificate"))
    assert result.state == store.state(KEY)
    assert result.state.failures == 1
    assert store.read_pair(KEY) is None


@pytest.mark.parametrize(
    ("knob", "value", "cause"),
    [
        ("signed_by_stranger", True, "cannot use the chain: CN=Fake did not sign www.example"),
        ("names_on_certificate", ["other.example"], "it is for other.example, not www.example"),
        ("key_of_stranger", True, "it belongs to another private key"),
        ("age", 86500.0, "it expired on"),
    ],
)
def test_wrong_certificate_is_not_taken_and_the_old_one_stays(
    ca: FakeCa, store: Store, https: HttpsPlan, knob: str, value: object, cause: str
) -> None:
    before = run_agent(job_of(https))[1]
    pair = store.read_pair(KEY)
    setattr(ca, knob, value)
    result = run_agent(job_of(https, force=True))[1]
    assert result.outcome == "failed"
    assert cause in result.error
    assert store.read_pair(KEY) == pair
    assert (result.state.serial, result.state.failures) == (before.state.serial, 1)


def test_advice_is_asked_for_and_its_moment_kept(ca: FakeCa, https: HttpsPlan) -> None:
    now = time.time()
    ca.window = (now + 50_000, now + 60_000)
    state = run_agent(job_of(https))[1].state
    assert ca.window[0] - 1 <= state.ari_time <= ca.window[1] + 1
    assert abs(state.ari_check - now - 21600) < 10
    again = run_agent(job_of(https, "ari"))[1]
    assert (again.outcome, again.state.ari_time) == ("advised", state.ari_time)
    ca.window = (now - 20, now - 10)
    moved = run_agent(job_of(https, "ari"))[1].state
    assert moved.ari_time < now
    assert run_agent(job_of(https))[1].outcome == "obtained"


def test_advice_that_cannot_be_had_changes_nothing_but_the_next_time_to_ask(ca: FakeCa, https: HttpsPlan) -> None:
    now = time.time()
    ca.window = (now + 50_000, now + 60_000)
    state = run_agent(job_of(https))[1].state
    ca.faults["advice"].append((500, {}, b"no"))
    after = run_agent(job_of(https, "ari"))[1].state
    assert replace(after, ari_check=state.ari_check) == state
    assert after.ari_check >= state.ari_check


def test_order_names_the_certificate_it_replaces_but_not_on_a_retry(ca: FakeCa, store: Store, https: HttpsPlan) -> None:
    now = time.time()
    ca.window = (now + 50_000, now + 60_000)
    run_agent(job_of(https))
    serial = split_pair(store.read_pair(KEY)).leaf.serial_number
    ca.faults["order"].append(problem(409, "alreadyReplaced", "there is one"))
    assert run_agent(job_of(https, force=True))[1].outcome == "failed"
    assert run_agent(job_of(https, force=True))[1].outcome == "obtained"
    first, second, third = ca.orders
    assert "replaces" not in first
    assert second["replaces"].count(".") == 1
    assert int.from_bytes(unbase64(second["replaces"].split(".")[1]), "big") == serial
    assert "replaces" not in third


def test_profile_is_asked_for_when_offered_and_an_unknown_one_is_an_error(ca: FakeCa, https: HttpsPlan) -> None:
    ca.profiles = {"classic": "as ever", "shortlived": "six days"}
    short = replace(https, issuers=(ca.issuer(profile="shortlived"),))
    assert run_agent(job_of(short))[1].outcome == "obtained"
    assert ca.orders[-1]["profile"] == "shortlived"
    other = replace(https, issuers=(ca.issuer(profile="tiny"),))
    result = run_agent(job_of(other, force=True))[1]
    assert result.error == "fake has no profile 'tiny'; allowed: classic, shortlived"


def test_addresses_choose_the_profile_that_they_need(ca: FakeCa, store: Store) -> None:
    ca.profiles = {"shortlived": "six days"}
    https = https_plan(store.root, "192.0.2.7", issuers=(ca.issuer(ip_profile="shortlived"),))
    assert run_agent(job_of(https))[1].outcome == "obtained"
    assert (ca.orders[-1]["profile"], ca.orders[-1]["identifiers"]) == (
        "shortlived",
        [{"type": "ip", "value": "192.0.2.7"}],
    )


def test_next_issuer_has_its_turn_after_a_failure_without_a_wait(ca: FakeCa, https: HttpsPlan) -> None:
    with running_fake_ca() as second:
        both = replace(https, issuers=(ca.issuer(), replace(second.issuer(), name="second")))
        ca.faults["order"].append(problem(500, "serverInternal", "down"))
        failed = run_agent(job_of(both))[1]
        assert failed.state.next_attempt <= time.time()
        result = run_agent(job_of(both))[1]
        assert result.outcome == "obtained"
        assert result.state.directory == second.url + "/directory"


def test_changed_contact_is_told_to_the_authority(ca: FakeCa, https: HttpsPlan) -> None:
    run_agent(job_of(https))
    before = ca.requests.count("account")
    run_agent(job_of(replace(https, email="ops@example.com"), force=True))
    run_agent(job_of(replace(https, email="ops@example.com"), force=True))
    assert ca.requests.count("account") == before + 1


def test_authority_that_never_answers_is_given_up_at_the_deadline(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/directory"
        https = https_plan(store.root, "www.example", issuers=(Issuer("silent", url),), timeout=1.0)
        began = time.monotonic()
        result = run_agent(job_of(https))[1]
    assert time.monotonic() - began < 5
    assert result.error == "no end within 1 seconds"
    assert result.state == store.state(KEY)


def test_supervisor_that_is_gone_does_not_stop_the_work(ca: FakeCa, store: Store, https: HttpsPlan) -> None:
    agent = start_agent(job_of(https))
    assert agent.stdout is not None
    agent.stdout.close()
    assert agent.wait(20) == 0
    assert agent.stderr is not None
    assert "Traceback" not in agent.stderr.read()
    agent.stderr.close()
    assert store.state(KEY).not_after > time.time()
