"""The supervisor's decisions about previous steps, without a process."""

from fairlead.messages import Failed, StepBegins
from fairlead.plan.model import Plan
from fairlead.replication.policy import ReplicationPolicy
from fairlead.steps.policy import Step, deadline
from fairlead.supervisor.actions import Progress, Reply
from fairlead.supervisor.events import Commanded, Planned, SpawnFailed, Started
from fairlead.supervisor.model import State
from fairlead.testing.fake_host import FakeHost, make_plan

STEPS = (Step("migrate", ("alembic", "upgrade", "head"), timeout=10),)


def plan(**changes: object) -> Plan:
    return make_plan(replication=ReplicationPolicy(2), steps=STEPS, **changes)


def start(**behaviour: object) -> FakeHost:
    host = FakeHost(State(target=2), **behaviour)  # type: ignore[arg-type]
    host.post(Started(plan()))
    return host


def kinds(host: FakeHost) -> list[str]:
    return [type(action).__name__ for action in host.actions]


def reload(host: FakeHost) -> None:
    host.post(Commanded("reload", 7))
    host.post(Planned(plan()))


def test_app_is_imported_only_after_the_steps_have_run() -> None:
    host = start()
    assert kinds(host).index("SpawnSteps") < kinds(host).index("SpawnTemplate")
    assert len(host.workers()) == 2
    assert not host.state.step_runs


def test_first_start_ends_with_exit_code_3_when_a_step_fails() -> None:
    host = start(on_steps=lambda _: [Failed("step", "step migrate failed: exit code 1", "no such table")])
    assert host.exit_code == 3
    assert "SpawnTemplate" not in kinds(host)
    assert host.logged("start.failed")[0]["traceback"] == "no such table"


def test_reload_with_a_failing_step_leaves_the_old_release_and_tells_the_caller() -> None:
    host = start()
    host.on_steps = lambda _: [Failed("step", "step migrate failed: exit code 1", "last\nlines")]
    reload(host)
    assert {worker.release for worker in host.workers()} == {1}
    assert host.replies()[-1] == Reply(7, "cannot reload: step migrate failed: exit code 1", "last\nlines")


def test_steps_whose_process_is_killed_have_failed() -> None:
    host = start()
    host.on_steps = lambda _: []
    reload(host)
    host.kill(next(iter(host.state.step_runs)))
    assert "died (signal SIGKILL)" in host.replies()[-1].error
    assert len(host.workers()) == 2


def test_steps_that_never_end_are_stopped_and_then_killed() -> None:
    host = start()
    host.on_steps = lambda _: []
    reload(host)
    host.wait(deadline(STEPS) + 1, step=5)
    assert "longer than all their timeouts" in host.replies()[-1].error
    assert "Signal" in kinds(host)
    assert not host.state.step_runs


def test_step_under_way_is_told_to_the_caller_and_in_status() -> None:
    host = start()
    host.on_steps = lambda _: [StepBegins("step migrate: alembic upgrade head")]
    reload(host)
    progress = [action.text for action in host.actions if isinstance(action, Progress)]
    assert "step migrate: alembic upgrade head" in progress
    host.post(Commanded("reload", 8))
    assert "step migrate" in host.replies()[-1].error


def test_stop_during_the_steps_ends_them_and_the_service() -> None:
    host = FakeHost(State(target=2), on_steps=lambda _: [])
    host.post(Started(plan()))
    host.post(Commanded("stop", 3))
    assert "Signal" in kinds(host)
    assert host.exit_code == 0


def test_process_that_cannot_be_started_fails_the_release() -> None:
    host = start()
    host.on_steps = lambda _: []
    reload(host)
    run = next(iter(host.state.step_runs.values()))
    host.post(SpawnFailed(run.id, "cannot start a process: out of memory"))
    assert "out of memory" in host.replies()[-1].error
