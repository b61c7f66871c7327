"""When the supervisor itself may be upgraded, and what is said about it."""

import pytest

from fairlead.supervisor.actions import HandOver, Reply, TrySuccessor
from fairlead.supervisor.events import Commanded, Started, SuccessorFit, SuccessorUnfit, TookOver
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan


@pytest.fixture
def host() -> FakeHost:
    host = FakeHost(State(target=1))
    host.post(Started(make_plan()))
    return host


def test_upgrade_tries_the_successor_first_and_hands_over_then(host) -> None:
    assert TrySuccessor(7) in host.post(Commanded("upgrade", client=7))
    assert host.replies() == []
    assert host.post(SuccessorFit(7))[-1] == HandOver(7)
    host.post(TookOver(7, before="1", version="2"))
    assert host.replies() == [Reply(7, result={"version": "2", "before": "1"})]


def test_successor_that_is_not_fit_leaves_everything_as_it_is(host) -> None:
    host.post(Commanded("upgrade", client=7))
    host.post(SuccessorUnfit(7, "it has no wheels"))
    assert host.replies() == [Reply(7, error="cannot upgrade: it has no wheels")]
    assert host.logged("upgrade.failed")[0]["cause"] == "it has no wheels"
    assert TrySuccessor(8) in host.post(Commanded("upgrade", client=8))


def test_upgrade_and_other_changes_exclude_each_other(host) -> None:
    host.post(Commanded("upgrade", client=7))
    host.post(Commanded("reload", client=8))
    host.post(Commanded("upgrade", client=9))
    assert [reply.error for reply in host.replies()] == [
        "cannot reload: an upgrade of the supervisor is under way",
        "cannot upgrade: an upgrade is under way",
    ]
    host.post(SuccessorUnfit(7, "x"))
    host.post(Commanded("reload", client=10))
    host.post(Commanded("upgrade", client=11))
    assert host.replies()[-1].error == "cannot upgrade: another change is under way (reload: reading the configuration)"


def test_service_that_stops_while_the_successor_is_tried_goes_on_stopping(host) -> None:
    host.drains = False
    host.post(Commanded("upgrade", client=7))
    host.post(Commanded("stop"))
    host.post(SuccessorFit(7))
    assert not any(isinstance(action, HandOver) for action in host.actions)
    assert host.replies()[-1].error == "cannot upgrade: the service is stopping"
