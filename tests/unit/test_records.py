"""Plain data as JSON and back: what the plan and the supervisor's state are made of."""

import json
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from fairlead.messages import Forked, Ready
from fairlead.records import dump, load
from fairlead.replication.policy import ReplicationPolicy
from fairlead.supervisor.events import Commanded, Planned, Said, Started
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass
class Node:
    name: str
    colour: Colour = Colour.RED
    points: tuple[Point, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    by_seat: dict[tuple[str, int], Point] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    child: "Node | None" = None
    others: list["Node"] = field(default_factory=list)


def there_and_back(kind: type, value: object) -> object:
    return load(kind, json.loads(json.dumps(dump(value))))


def test_values_of_every_kind_come_back_equal() -> None:
    node = Node("a", points=(Point(1.5), Point(2, 3)), by_seat={("x", 2): Point(1)}, tags={"t", "u"})
    assert there_and_back(Node, node) == node


def test_object_that_is_held_twice_comes_back_as_one() -> None:
    shared = Node("shared")
    back = there_and_back(Node, Node("root", child=shared, others=[shared, Node("other")]))
    assert isinstance(back, Node)
    assert back.others[0] is back.child
    assert back.others[1].name == "other"


def test_field_that_the_text_lacks_takes_its_default_and_one_that_is_not_known_is_an_error() -> None:
    assert load(Point, {"x": 1.0}) == Point(1.0)
    with pytest.raises(KeyError):
        load(Point, {"x": 1.0, "z": 2.0})


def test_state_of_a_supervisor_in_full_work_goes_on_where_it_was() -> None:
    host = FakeHost(State(target=2))
    host.post(Started(make_plan(replication=ReplicationPolicy(2))))
    host.post(Commanded("reload"))
    host.post(Planned(make_plan(replication=ReplicationPolicy(2))))
    host.kill(next(worker.id for worker in host.workers()), "signal SIGSEGV")
    host.wait(5)
    state = there_and_back(State, host.state)
    assert state == host.state
    assert isinstance(state, State)
    for release in state.releases.values():
        assert release.template is None or release.template is state.templates[release.template.id]
    host.state = state
    host.post(Commanded("rollback"))
    assert len(host.logged("rollback.done")) == 1


def test_state_goes_over_while_a_worker_that_spoke_early_is_not_born_yet_and_afterwards() -> None:
    """Any message may be among what it said, and what has been listened to is not kept."""
    host = FakeHost(State(target=1))
    host.post(Started(make_plan()))
    template = host.state.releases[1].template
    assert template is not None
    host.alive.pop(template.id)
    host.kill(host.workers()[0].id)
    [forking] = host.workers("forking")
    host.post(Said(forking.id, Ready(0.01)))
    state = there_and_back(State, host.state)
    assert state == host.state
    assert isinstance(state, State)
    host.state = state
    host.post(Said(template.id, Forked(forking.id, 555)))
    assert state.workers[forking.id].state == "serving"
    assert there_and_back(State, state) == state
    assert state.workers[forking.id].early == []
