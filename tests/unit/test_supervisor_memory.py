"""The supervisor's decisions about memory, without a process."""

import dataclasses

import pytest

from fairlead.memory.policy import MemoryPolicy, Usage, fitting, is_fat, parse_budget
from fairlead.messages import Imported, Ready, StepsRan
from fairlead.plan.model import Plan
from fairlead.replication.policy import ReplicationPolicy
from fairlead.restarts.policy import RestartPolicy
from fairlead.steps.policy import Step
from fairlead.supervisor.actions import Log
from fairlead.supervisor.events import Commanded, Exited, Planned, Said, Started, Tick
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan

MB = 10**6


def plan(workers: int = 4, budget: int = 1000 * MB, limit: int = 0) -> Plan:
    return make_plan(
        replication=ReplicationPolicy(workers),
        memory=MemoryPolicy(budget=budget, worker_limit=limit),
        restarts=RestartPolicy(park=600),
    )


def start(the_plan: Plan | None = None, template: int = 50 * MB) -> FakeHost:
    the_plan = the_plan or plan()
    host = FakeHost(
        State(target=the_plan.replication.workers), on_import=lambda _: [Imported("main:app", 0.1, (), template)]
    )
    host.post(Started(the_plan))
    return host


def weigh(host: FakeHost, seconds: float = 1.0, rest: int = 60 * MB, **sizes: int) -> None:
    """Time passes, and every worker holds `each`, or what is named for it (w3=…)."""
    for _ in range(max(1, round(seconds))):
        host.now += min(seconds, 1.0)
        private = {number: sizes.get(f"w{number}", sizes.get("each", 10 * MB)) for number in host.state.workers}
        templates = {one.id: 50 * MB for one in host.state.templates.values() if not one.spare}
        beats = dict.fromkeys(host.state.workers, int(host.now * 1e9))
        host.post(Tick(beats, Usage(private, rest), templates))


def test_budget_is_a_share_or_a_size() -> None:
    assert parse_budget("80%", 1000) == 800
    assert parse_budget("2GB", 1000) == 2 * 10**9
    assert parse_budget("0", 1000) == 0
    for wrong in ("0%", "101%", "x%", "many"):
        with pytest.raises(ValueError, match="allowed"):
            parse_budget(wrong, 1000)


def test_workers_that_fit_beside_what_is_shared() -> None:
    assert fitting(1000, 200, 100) == 8
    assert fitting(1000, 2000, 100) == 1
    assert is_fat(100 * MB, 10 * MB)
    assert not is_fat(30 * MB, 10 * MB)


def test_workers_whose_need_is_unknown_start_one_after_the_other_when_the_import_is_large() -> None:
    host = start(plan(workers=4), template=400 * MB)
    assert len(host.workers()) == 1
    assert host.logged("memory.full")
    weigh(host, rest=410 * MB, each=20 * MB)
    assert len(host.workers()) == 4


def test_worker_that_is_ready_tells_how_many_more_fit_before_the_next_reading() -> None:
    the_plan = plan(workers=60, budget=200 * MB)
    host = FakeHost(
        State(target=60),
        on_import=lambda _: [Imported("main:app", 0.1, (), 100 * MB)],
        on_start=lambda _: [Ready(0.1, 10 * MB)],
    )
    host.post(Tick({}, Usage({}, 10 * MB)))
    host.post(Started(the_plan))
    assert len(host.workers()) == 9  # 10 MB the supervisor, 100 MB the import: nine times 10 MB are left
    [told] = host.logged("memory.full")
    assert (told["workers"], told["a_worker_needs"]) == ("51 more wanted, 0 fit", "10.0 MB")


def test_import_larger_than_the_budget_ends_the_start_with_the_figures() -> None:
    host = start(plan(budget=100 * MB), template=120 * MB)
    assert host.exit_code == 3
    cause = str(host.logged("start.failed")[0]["cause"])
    assert "120 MB" in cause
    assert "100 MB" in cause


def test_budget_that_fits_the_import_and_not_one_worker_ends_the_start_with_the_figures() -> None:
    the_plan = plan(workers=3, budget=200 * MB)
    host = FakeHost(
        State(target=3),
        on_import=lambda _: [Imported("main:app", 0.1, (), 100 * MB)],
        on_start=lambda _: [Ready(0.1, 110 * MB)],
    )
    host.post(Started(the_plan))
    assert host.exit_code == 3
    [failed] = host.logged("start.failed")
    for figure in ("one worker holds 110 MB", "beside 100 MB", "budget is 200 MB", "at least 210 MB"):
        assert figure in str(failed["cause"])
    assert not host.logged("worker.serving")
    assert not host.alive


def test_release_whose_worker_does_not_fit_leaves_the_old_one_serving() -> None:
    host = start(plan(workers=2, budget=500 * MB))
    weigh(host, 2, each=50 * MB)
    host.on_start = lambda _: [Ready(0.1, 460 * MB)]
    host.post(Commanded("reload", 7))
    host.post(Planned(plan(workers=2, budget=500 * MB)))
    error = host.replies()[-1].error
    assert "cannot reload: memory: one worker holds 460 MB" in error
    assert {worker.release for worker in host.workers()} == {1}
    assert len(host.workers()) == 2
    host.on_start = lambda _: [Ready(0.1, 300 * MB)]  # fits once the old one has gone
    host.post(Commanded("reload", 8))
    host.post(Planned(plan(workers=2, budget=500 * MB)))
    assert not host.replies()[-1].error


def test_scale_up_stops_where_the_budget_is_full() -> None:
    host = start()
    weigh(host, each=200 * MB)
    host.post(Commanded("scale", 1, workers="9"))
    assert len(host.workers()) == 4  # 60 + 4 × 200; a fifth would be above 1000
    note = str(host.replies()[-1].result["note"])
    assert note.startswith(
        "5 of them do not fit into the memory budget now: 860 MB of 1.0 GB are used or promised, and a worker needs 200 MB"
    )
    host.post(Commanded("scale", 2, workers="3"))
    assert host.replies()[-1].result == {"workers": 3}
    host.post(Commanded("scale", 3, workers="9"))
    assert host.logged("memory.full")[0]["workers"] == "5 more wanted, 0 fit"
    weigh(host, 3, each=200 * MB)
    assert len(host.logged("memory.full")) == 1
    weigh(host, 3, each=100 * MB)
    assert len(host.workers()) == 9


def test_worker_above_its_limit_is_replaced_after_its_successor_serves() -> None:
    host = start(plan(limit=100 * MB))
    fat = host.workers()[1].id
    weigh(host, 1, **{f"w{fat}": 150 * MB})
    assert fat in host.state.workers
    weigh(host, 1)
    assert fat not in host.state.workers
    assert len(host.workers()) == 4
    assert "above memory.worker_limit (100 MB)" in host.state.restarts[0].reason


def test_leaking_worker_is_replaced_before_the_budget_is_used_up() -> None:
    host = start()
    leaking, size = host.workers()[0].id, 10 * MB
    while leaking in host.state.workers:
        size += 50 * MB
        weigh(host, 1, **{f"w{leaking}": size})
        assert size < 900 * MB
    assert host.state.memory.usage.total < 1000 * MB
    assert host.logged("memory.replace")
    assert len(host.workers()) == 4


def test_leaking_worker_is_replaced_while_the_previous_steps_of_a_reload_take_their_time() -> None:
    host = start()
    host.on_steps = lambda _: []
    host.post(Commanded("reload", 7))
    host.post(Planned(dataclasses.replace(plan(), steps=(Step("migrate", ("alembic",)),))))
    leaking, size = host.workers()[0].id, 10 * MB
    while leaking in host.state.workers:
        size += 50 * MB
        weigh(host, 1, **{f"w{leaking}": size})
        assert size < 900 * MB
    [run] = host.state.step_runs
    host.post(Said(run, StepsRan()))
    host.post(Exited(host.alive.pop(run), "exit code 0", clean=True))
    weigh(host, 1)
    assert {worker.release for worker in host.workers()} == {2}
    assert len(host.workers()) == 4


def test_fat_worker_goes_first_when_its_successor_does_not_fit_beside_it() -> None:
    host = start(plan(workers=2, budget=500 * MB))
    first, second = (worker.id for worker in host.workers())
    weigh(host, 1, each=150 * MB, **{f"w{first}": 240 * MB})
    weigh(host, 2, each=150 * MB, **{f"w{first}": 290 * MB})
    assert first not in host.state.workers
    events = [a.event for a in host.actions if isinstance(a, Log)]
    assert events.index("worker.draining") < len(events) - 1 - events[::-1].index("worker.serving")
    assert second in host.state.workers


def test_one_worker_less_when_all_have_grown_and_the_budget_is_burst() -> None:
    host = start()
    weigh(host, 2, each=260 * MB)
    assert len(host.workers()) == 3
    assert host.logged("memory.one_worker_less")


def test_reload_that_does_not_fit_at_once_goes_one_by_one() -> None:
    host = start(plan(workers=3))
    weigh(host, 2, each=200 * MB)
    host.post(Commanded("reload", 7))
    host.post(Planned(plan(workers=3)))
    assert host.logged("memory.reload_one_by_one")
    weigh(host, 4, each=200 * MB, rest=110 * MB)
    assert {worker.release for worker in host.workers()} == {2}
    assert len(host.workers()) == 3


def test_reload_of_which_not_even_one_worker_fits_is_refused_with_the_figures() -> None:
    host = start(plan(workers=3))
    weigh(host, 2, each=300 * MB)
    host.post(Commanded("reload", 7))
    host.post(Planned(plan(workers=3)))
    error = host.replies()[-1].error
    assert "cannot reload: memory: another release needs 350 MB" in error
    assert {worker.release for worker in host.workers()} == {1}


def test_without_a_budget_nothing_is_held_back() -> None:
    host = start(plan(budget=0))
    weigh(host, 2, each=9000 * MB)
    host.post(Commanded("scale", 1, workers="9"))
    assert len(host.workers()) == 9
