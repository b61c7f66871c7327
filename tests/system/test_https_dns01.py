"""DNS-01 against real parts: BIND, updated by RFC 2136 or by a command, and Pebble asking it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_fixture import https_plan, job_of, run_agent, start_agent
from dns.name import from_text
from named_fixture import Named, needs_named, running_named
from pebble_fixture import Pebble, free_port, needs_pebble, running_pebble

from fairlead.https.dns_sight import name_servers
from fairlead.https.model import DnsPlan
from fairlead.https.store import Store

pytestmark = [needs_pebble, needs_named, pytest.mark.root]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    with running_named(tmp_path_factory.mktemp("bind") / "named") as running:
        yield running


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, named: Named) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble"), dns_server=f"127.0.0.1:{named.port}") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_wildcard_and_its_parent_by_dns_update(store: Store, pebble: Pebble, named: Named) -> None:
    """Both names are proven by one record, which has to hold two values at once."""
    names = ("*.dyn.example", "dyn.example")
    https = https_plan(store.root, *names, issuers=(pebble.issuer(),), challenge="dns-01", dns=named.plan)
    stages, result = run_agent(job_of(https))
    assert (result.error, result.outcome) == ("", "obtained")
    assert set(result.state.names) == set(names)
    assert "challenge dns-01 for dyn.example" in stages
    assert named.texts("_acme-challenge.dyn.example") == []


def test_zone_that_is_given_is_not_searched(store: Store, pebble: Pebble, named: Named) -> None:
    dns = replace(named.plan, zone="dyn.example")
    https = https_plan(store.root, "a.b.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
    assert run_agent(job_of(https))[1].outcome == "obtained"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"key_secret": "d3Jvbmc="}, "didn't like the signature"),
        ({"port": 1}, "cannot use the name server 127.0.0.1"),
        ({"key_name": "stranger"}, "didn't know the key"),
    ],
)
def test_update_that_fails_is_a_failure_with_its_cause(
    store: Store, pebble: Pebble, named: Named, change: dict[str, object], cause: str
) -> None:
    dns = replace(named.plan, **change)
    https = https_plan(store.root, "x.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
    result = run_agent(job_of(https))[1]
    assert result.outcome == "failed"
    assert cause in result.error
    assert named.plan.key_secret not in result.error


def test_name_outside_of_every_zone_is_a_failure_with_its_cause(store: Store, pebble: Pebble, named: Named) -> None:
    https = https_plan(store.root, "other.test", issuers=(pebble.issuer(),), challenge="dns-01", dns=named.plan)
    result = run_agent(job_of(https))[1]
    assert "has no zone above it" in result.error


def test_name_server_that_is_late_is_waited_for(store: Store, named: Named, tmp_path: Path) -> None:
    """The authority asks a secondary, which sees the record a second or two after the primary."""
    with (
        running_named(tmp_path / "secondary", named) as late,
        running_pebble(tmp_path / "pebble", dns_server=f"127.0.0.1:{late.port}") as pebble,
    ):
        dns = replace(named.plan, nameservers=(("127.0.0.1", late.port),))
        https = https_plan(store.root, "late.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
        result = run_agent(job_of(https))[1]
    assert (result.error, result.outcome) == ("", "obtained")


def test_record_that_is_not_seen_in_time_is_a_failure_before_the_authority_looks(
    store: Store, pebble: Pebble, named: Named, tmp_path: Path
) -> None:
    with running_named(tmp_path / "stranger") as stranger:
        dns = replace(named.plan, nameservers=(("127.0.0.1", stranger.port),), propagation_timeout=0.5)
        https = https_plan(store.root, "z.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
        stages, result = run_agent(job_of(https))
    assert "not visible within 0.5 seconds (https.dns.propagation_timeout)" in result.error
    assert f"at 127.0.0.1 port {stranger.port}" in result.error
    assert not any(stage.startswith("challenge") for stage in stages)
    assert named.texts("_acme-challenge.z.dyn.example") == []


def test_name_server_that_does_not_answer_is_left_out(store: Store, pebble: Pebble, named: Named) -> None:
    dns = replace(named.plan, nameservers=(("127.0.0.1", free_port()),))
    https = https_plan(store.root, "w.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
    agent = start_agent(job_of(https))
    output, errors = agent.communicate(timeout=100)
    assert json.loads(output.splitlines()[-1])["result"]["outcome"] == "obtained"
    assert errors.startswith(f"the name server 127.0.0.1 port {dns.nameservers[0][1]} does not answer: ")


def test_name_servers_of_the_zone_are_found(named: Named) -> None:
    assert list(name_servers(named.plan, from_text("dyn.example"))) == [("127.0.0.1", 53)]


@pytest.fixture
def hook(tmp_path: Path, named: Named) -> Path:
    """A user's command: nsupdate, as `add` or `delete`."""
    path = tmp_path / "hook"
    path.write_text(
        "#!/bin/sh\n"
        f'echo "$1 $FAIRLEAD_DOMAIN" >> {tmp_path}/calls\n'
        f'printf "server 127.0.0.1 {named.port}\\nupdate $1 $FAIRLEAD_RECORD 60 TXT $FAIRLEAD_VALUE\\nsend\\n" '
        f'| nsupdate -y "hmac-sha256:fairlead:{named.plan.key_secret}"\n'
    )
    path.chmod(0o700)
    return path


def test_wildcard_by_command(store: Store, pebble: Pebble, named: Named, hook: Path) -> None:
    dns = DnsPlan("command", present=(str(hook), "add"), cleanup=(str(hook), "delete"), propagation_wait=0.0)
    https = https_plan(store.root, "*.cmd.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
    result = run_agent(job_of(https))[1]
    assert (result.error, result.outcome) == ("", "obtained")
    assert (hook.parent / "calls").read_text() == "add cmd.dyn.example\ndelete cmd.dyn.example\n"
    assert named.texts("_acme-challenge.cmd.dyn.example") == []


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo no such zone >&2; exit 3", "ended with 3: no such zone"),
        ("sleep 30", "took longer than 0.5 s (https.dns.timeout) and was killed"),
    ],
)
def test_command_that_fails_is_a_failure_with_its_cause(
    store: Store, pebble: Pebble, tmp_path: Path, script: str, cause: str
) -> None:
    path = tmp_path / "bad"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    dns = DnsPlan("command", present=(str(path),), timeout=0.5, propagation_wait=0.0)
    https = https_plan(store.root, "y.dyn.example", issuers=(pebble.issuer(),), challenge="dns-01", dns=dns)
    result = run_agent(job_of(https))[1]
    assert result.outcome == "failed"
    assert cause in result.error
