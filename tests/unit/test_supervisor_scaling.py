"""Workers that follow the load: the decisions, without a process."""

import dataclasses

import pytest

from fairlead.config.load import load
from fairlead.errors import InputError
from fairlead.memory.policy import MemoryPolicy, Usage
from fairlead.messages import StepsRan
from fairlead.plan.model import Plan
from fairlead.replication.policy import ReplicationPolicy, after_change
from fairlead.restarts.policy import RestartPolicy
from fairlead.steps.policy import Step
from fairlead.supervisor import machine
from fairlead.supervisor.events import Commanded, Exited, Load, Planned, Said, Started, Tick
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan

MB = 10**6
POLICY = ReplicationPolicy(1, max=8, calm=10)


def plan(policy: ReplicationPolicy = POLICY, budget: int = 0) -> Plan:
    return make_plan(replication=policy, memory=MemoryPolicy(budget=budget), restarts=RestartPolicy(park=600))


def start(policy: ReplicationPolicy = POLICY, budget: int = 0) -> FakeHost:
    host = FakeHost(State(target=policy.workers))
    host.post(Started(plan(policy, budget)))
    return host


def load_for(host: FakeHost, seconds: float, work: float, queued: int = 0, each: int = 0) -> None:
    """`work`: workers' worth of load, shared out evenly; `each`: bytes that a worker holds."""
    end = host.now + seconds
    while host.now < end:
        host.now += 0.25
        busy = min(1.0, work / max(1, len(host.workers())))
        beats = dict.fromkeys(host.state.workers, int(host.now * 1e9))
        usage = Usage(dict.fromkeys(host.state.workers, each), 10 * MB)
        host.post(Tick(beats, usage, {}, Load({w.id: busy for w in host.workers()}, queued)))


def counts(host: FakeHost) -> list[object]:
    return [fields["workers"] for event in ("scale.up", "scale.down") for fields in host.logged(event)]


def test_step_in_load_is_met_within_two_seconds() -> None:
    host = start()
    load_for(host, 2, work=4)
    assert len(host.workers()) >= 2
    load_for(host, 6, work=4)
    assert len(host.workers()) in (5, 6, 7)
    assert host.logged("scale.up")[0]["busy"] == "100%"


def test_load_is_met_while_the_previous_steps_of_a_reload_take_their_time() -> None:
    host = start()
    host.on_steps = lambda _: []
    host.post(Commanded("reload", 7))
    host.post(Planned(dataclasses.replace(plan(), steps=(Step("migrate", ("alembic",)),))))
    load_for(host, 8, work=4)
    workers = len(host.workers())
    assert workers in (5, 6, 7)
    [run] = host.state.step_runs
    host.post(Said(run, StepsRan()))
    host.post(Exited(host.alive.pop(run), "exit code 0", clean=True))
    assert {worker.release for worker in host.workers()} == {2}
    assert len(host.workers()) == workers


def test_queue_of_connections_is_a_reason_to_grow() -> None:
    host = start()
    load_for(host, 2, work=0.6, queued=5)
    assert len(host.workers()) >= 2
    assert host.logged("scale.up")[0]["queued"] == 5


def test_inside_the_band_nothing_changes() -> None:
    host = start()
    load_for(host, 100, work=0.85)
    assert counts(host) == []


def test_constant_load_never_flaps() -> None:
    for tenths in range(5, 75, 5):
        host = start()
        load_for(host, 60, work=tenths / 10)
        changes = len(counts(host))
        load_for(host, 200, work=tenths / 10)
        assert len(counts(host)) == changes, tenths


def test_calm_time_comes_before_there_are_fewer_and_min_is_kept() -> None:
    host = start(ReplicationPolicy(2, max=8, calm=10))
    load_for(host, 10, work=6)
    many = len(host.workers())
    assert many >= 6
    load_for(host, 9, work=0.1)
    assert len(host.workers()) == many
    load_for(host, 60, work=0.1)
    assert len(host.workers()) == 2


def test_short_lull_keeps_the_workers() -> None:
    host = start()
    load_for(host, 10, work=4)
    many = len(host.workers())
    for _ in range(5):
        load_for(host, 8, work=0.1)
        load_for(host, 3, work=4)
    assert len(host.workers()) == many


def test_max_and_the_memory_budget_are_kept() -> None:
    host = start()
    load_for(host, 30, work=100)
    assert len(host.workers()) == 8
    poor = start(budget=410 * MB)
    load_for(poor, 30, work=100, each=100 * MB)
    assert len(poor.workers()) == 4
    assert poor.logged("memory.full")


def test_scaling_by_hand_is_refused_where_the_load_decides() -> None:
    host = start()
    host.post(Commanded("scale", 1, workers="3"))
    assert host.replies()[-1].error == "cannot scale by hand: the load decides, from 1 to 8 (replication.workers)"


def test_looks_at_the_load_four_times_a_second_only_where_it_decides() -> None:
    assert machine.next_tick(start().state, 1000.0) == 0.25
    assert machine.next_tick(start(ReplicationPolicy(1)).state, 1000.0) == 1.0


@pytest.mark.parametrize(
    ("before", "after", "workers", "then"),
    [
        (ReplicationPolicy(2), ReplicationPolicy(2), 5, 5),
        (ReplicationPolicy(2), ReplicationPolicy(3), 5, 3),
        (POLICY, POLICY, 6, 6),
        (POLICY, ReplicationPolicy(2, max=4), 6, 4),
        (POLICY, ReplicationPolicy(1), 6, 1),
        (ReplicationPolicy(4), POLICY, 4, 4),
    ],
)
def test_number_after_a_change_of_the_configuration(
    before: ReplicationPolicy, after: ReplicationPolicy, workers: int, then: int
) -> None:
    assert after_change(before, after, workers) == then


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("{ min = 4, max = 2 }", "min = 4 is above max = 2"),
        ("{ min = 0 }", "a whole number from 1 to 512"),
        ("{ target = '120%' }", "a share from 10% to 95%"),
        ("{ maxx = 3 }", "did you mean max"),
    ],
)
def test_mistakes_are_told(tmp_path, toml: str, told: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "fairlead.toml").write_text(f"[replication]\nworkers = {toml}\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path, {}, {})
    assert told in str(caught.value)
