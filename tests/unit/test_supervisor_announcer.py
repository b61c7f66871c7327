"""What the service manager is told, on the machine with a fake host."""

import pytest

from fairlead.messages import Failed, Imported
from fairlead.replication.policy import ReplicationPolicy
from fairlead.supervisor.announcer import Announcer, Phase, phase_of
from fairlead.supervisor.events import Commanded, Planned, Said, Started
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan

PLAN = make_plan(replication=ReplicationPolicy(2))


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(State(target=2))


def test_ready_is_said_once_the_release_serves_and_never_before(host) -> None:
    announcer = Announcer()
    host.on_import = lambda _process: []
    host.post(Started(PLAN))
    first = announcer.news(host.state, host.now)
    assert first == ["STATUS=start: release 1: importing the app", "EXTEND_TIMEOUT_USEC=30000000"]
    host.wait(4)
    assert announcer.news(host.state, host.now) == []
    host.wait(2)
    assert announcer.news(host.state, host.now) == ["EXTEND_TIMEOUT_USEC=30000000"]
    template = next(iter(host.state.templates))
    host.post(Said(template, Imported("main:app", 6.0)))
    assert announcer.news(host.state, host.now)[:2] == ["READY=1", "STATUS=release 1 serves with 2 workers"]
    host.wait(60)
    assert announcer.news(host.state, host.now) == []


def test_failed_reload_ends_ready_again_and_the_status_says_why(host) -> None:
    host.post(Started(PLAN))
    announcer = Announcer()
    announcer.news(host.state, host.now)
    host.post(Commanded("reload"))
    reloading = announcer.news(host.state, host.now)
    assert reloading[0] == "RELOADING=1"
    assert reloading[1] == f"MONOTONIC_USEC={int(host.now * 1e6)}"
    host.on_start = lambda _process: [Failed("lifespan", "no\ndatabase")]
    host.post(Planned(PLAN))
    news = announcer.news(host.state, host.now)
    assert news[0] == "READY=1"
    assert news[1] == "STATUS=release 1 serves with 2 workers; cannot reload: lifespan: no database"


def test_stopping_is_said_and_asks_for_time(host) -> None:
    host.drains = False
    host.post(Started(PLAN))
    announcer = Announcer()
    announcer.news(host.state, host.now)
    host.post(Commanded("stop"))
    news = announcer.news(host.state, host.now)
    assert news[0] == "STOPPING=1"
    assert news[1].startswith("STATUS=stopping: asked to stop; 2 workers")
    assert news[2] == "EXTEND_TIMEOUT_USEC=30000000"
    assert phase_of(host.state) == Phase.STOPPING


def test_watchdog_is_fed_four_times_in_its_time(host) -> None:
    host.post(Started(PLAN))
    announcer = Announcer(watchdog=20.0)
    beats = 0
    for _second in range(60):
        host.wait(1)
        beats += "WATCHDOG=1" in announcer.news(host.state, host.now)
    assert beats == 12
