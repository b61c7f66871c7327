"""The supervisor's decisions about companions, without a process."""

import json

import pytest

from fairlead.companions.policy import Companion
from fairlead.plan.model import Plan
from fairlead.records import dump, load
from fairlead.replication.policy import ReplicationPolicy
from fairlead.restarts.policy import RestartPolicy
from fairlead.supervisor import machine
from fairlead.supervisor.events import ChannelOver, Commanded, Exited, Planned, Started
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan

CRON = Companion("cron", ("python", "-m", "cron"), settle_time=1.0)


def plan(*companions: Companion) -> Plan:
    return make_plan(
        replication=ReplicationPolicy(2),
        companions=companions or (CRON,),
        restarts=RestartPolicy(backoff_initial=1, backoff_max=8, quiet_time=60, park=600),
    )


def start(*companions: Companion) -> FakeHost:
    host = FakeHost(State(target=2))
    host.post(Started(plan(*companions)))
    return host


def running(host: FakeHost) -> list[tuple[int, str]]:
    return sorted((run.release, run.label) for run in host.state.companions.values() if run.end is None)


def reload(host: FakeHost, *companions: Companion) -> None:
    host.post(Commanded("reload", 7))
    host.post(Planned(plan(*companions)))


def test_start_is_done_when_the_companions_have_run_for_their_settle_time() -> None:
    host = start()
    assert running(host) == [(1, "cron")]
    assert not host.workers()
    host.wait(1.1, step=0.1)
    assert len(host.workers()) == 2
    assert host.logged("start.done")


def test_first_start_with_a_companion_that_exits_at_once_ends_with_its_cause() -> None:
    host = start()
    host.kill(next(iter(host.state.companions)), "exit code 2")
    assert host.exit_code == 3
    assert "companion cron ended after" in str(host.logged("start.failed")[0]["cause"])


def test_replicas_are_counted_and_a_dead_one_is_started_again_with_back_off() -> None:
    host = start(Companion("queue", ("q",), replicas=3))
    host.wait(2)
    assert running(host) == [(1, "queue/0"), (1, "queue/1"), (1, "queue/2")]
    host.kill(next(iter(host.state.companions)))
    assert len(running(host)) == 3
    newest = max(host.state.companions)
    host.kill(newest)
    assert len(running(host)) == 2
    host.wait(1.5)
    assert len(running(host)) == 3


def test_function_is_forked_from_the_template_and_a_program_is_started() -> None:
    host = start(Companion("jobs", ("app.jobs:main",)), CRON)
    kinds = {type(action).__name__ for action in host.actions}
    assert {"ForkCompanion", "SpawnCompanion"} <= kinds


@pytest.mark.parametrize(
    ("run", "callable_"),
    [(("app.jobs:main",), True), (("a:b.c",), True), (("celery",), False), (("a:b", "-x"), False), (("./a:b",), False)],
)
def test_function_is_told_from_a_program(run: tuple[str, ...], callable_: bool) -> None:
    assert Companion("x", run).is_callable is callable_


def test_reload_starts_the_new_companion_first_and_stops_the_old_one_after_the_switch() -> None:
    host = start()
    host.wait(2)
    reload(host)
    assert running(host) == [(1, "cron"), (2, "cron")]
    assert {worker.release for worker in host.workers()} == {1}
    host.wait(1.1, step=0.1)
    assert running(host) == [(2, "cron")]
    assert {worker.release for worker in host.workers()} == {2}


def test_companion_without_overlap_starts_only_when_the_old_one_is_gone() -> None:
    alone = Companion("cron", ("cron",), overlap=False, stop_timeout=5)
    host = start(alone)
    host.wait(2)
    host.ends = False
    reload(host, alone)
    assert {worker.release for worker in host.workers()} == {2}
    assert running(host) == []
    host.wait(4.5)
    assert running(host) == []
    host.wait(1)  # killed at stop_timeout
    assert running(host) == [(2, "cron")]


def test_reload_whose_companion_exits_at_once_leaves_the_old_release() -> None:
    host = start()
    host.wait(2)
    reload(host)
    host.kill(max(host.state.companions), "exit code 1")
    assert running(host) == [(1, "cron")]
    assert "companion cron ended after 0.0 s: exit code 1" in host.replies()[-1].error
    assert {worker.release for worker in host.workers()} == {1}


def test_settle_time_counts_from_the_moment_that_the_program_runs() -> None:
    host = FakeHost(State(target=2), begins=False)
    host.post(Started(plan()))
    host.wait(5)
    assert not host.workers()
    [run] = host.state.companions.values()
    host.post(ChannelOver(run.id))
    host.wait(0.9, step=0.1)
    assert not host.workers()
    host.wait(0.2, step=0.1)
    assert len(host.workers()) == 2


def test_companion_that_never_begins_is_killed_when_an_import_would_be() -> None:
    host = FakeHost(State(target=2), begins=False)
    the_plan = plan()
    host.post(Started(the_plan))
    host.wait(the_plan.startup.import_timeout + 1)
    assert host.exit_code == 3
    assert "it did not begin in time" in str(host.logged("start.failed")[0]["cause"])


@pytest.mark.parametrize("restart", ["never", "on-failure"])
def test_companion_that_fails_in_its_settle_time_fails_the_change_even_where_it_is_not_started_again(
    restart: str,
) -> None:
    host = start(Companion("once", ("once",), restart=restart))
    host.kill(next(iter(host.state.companions)), "exit code 9")
    assert host.exit_code == 3
    assert "exit code 9" in str(host.logged("start.failed")[0]["cause"])


def test_companion_that_is_done_within_its_settle_time_fails_nothing() -> None:
    host = start(Companion("once", ("once",), restart="never"))
    process = next(iter(host.state.companions))
    host.post(Exited(host.alive.pop(process), "exit code 0", clean=True))
    host.wait(2)
    assert len(host.workers()) == 2


def test_restarts_of_a_companion_do_not_pile_up() -> None:
    host = start()
    host.wait(2)
    for _ in range(60):
        host.kill(next(iter(host.state.companions)))
        host.wait(9)
    assert len(host.state.restarts) == 50
    assert host.state.restarts_total == 60


def test_seat_that_waited_when_its_release_was_parked_makes_no_ticks() -> None:
    host = start()
    host.wait(2)
    for _ in range(2):
        host.kill(next(iter(host.state.companions)))
    assert running(host) == []  # it has to wait before it is started again
    reload(host)
    host.wait(5, step=0.1)
    assert host.state.releases[1].parked_until is not None
    assert machine.next_tick(host.state, host.now) > 0.5


def test_program_that_has_settled_makes_no_ticks_while_the_workers_get_ready() -> None:
    host = FakeHost(State(target=2), on_start=lambda _: [])
    host.post(Started(plan()))
    host.wait(5)
    assert machine.next_tick(host.state, host.now) > 0.5


def test_companion_that_is_done_is_left_alone_where_restart_says_so() -> None:
    host = start(Companion("once", ("once",), restart="on-failure"))
    host.wait(2)
    process = next(iter(host.state.companions))
    host.post(Exited(host.alive.pop(process), "exit code 0", clean=True))
    host.wait(20)
    assert running(host) == []
    assert host.logged("companion.ended")


def test_stop_asks_the_companions_to_end_and_kills_those_that_do_not() -> None:
    host = start()
    host.wait(2)
    host.ends = False
    host.post(Commanded("stop", 1))
    assert host.exit_code is None
    host.wait(CRON.stop_timeout + 1)
    assert host.exit_code == 0


def test_companions_are_known_to_a_successor_of_the_supervisor() -> None:
    host = start(Companion("queue", ("q",), replicas=2), Companion("once", ("o",), restart="never"))
    host.wait(2)
    host.kill(next(iter(host.state.companions)))
    host.kill(max(host.state.companions))
    assert load(State, json.loads(json.dumps(dump(host.state)))) == host.state
