"""The supervisor's decisions, without a process."""

import dataclasses

import pytest

from fairlead.memory.policy import MemoryPolicy
from fairlead.messages import Accepted, Drain, Failed, Forked, Imported, Ready, Serve, WantsRecycle
from fairlead.plan.model import Bind, Plan
from fairlead.replication.policy import ReplicationPolicy
from fairlead.restarts.policy import RestartPolicy
from fairlead.supervisor import machine
from fairlead.supervisor.actions import (
    CloseAccept,
    ForkWorker,
    Kill,
    Log,
    LookAfterCertificates,
    Send,
    SpawnTemplate,
    SpawnWorker,
)
from fairlead.supervisor.events import Commanded, Exited, PlanFailed, Planned, Said, Started
from fairlead.supervisor.model import State, Worker
from fairlead.testing.fake_host import FakeHost, make_plan

RESTARTS = RestartPolicy(hang_timeout=30, backoff_initial=1, backoff_max=8, quiet_time=60, park=600)


def plan(workers: int = 3, preload: str = "auto", restarts: RestartPolicy = RESTARTS, **changes: object) -> Plan:
    return make_plan(replication=ReplicationPolicy(workers), memory=MemoryPolicy(preload), restarts=restarts, **changes)


def start(the_plan: Plan | None = None, **behaviour: object) -> FakeHost:
    the_plan = the_plan or plan()
    host = FakeHost(State(target=the_plan.replication.workers), **behaviour)  # type: ignore[arg-type]
    host.post(Started(the_plan))
    return host


def reload(host: FakeHost, new: Plan | None = None, client: int | None = 7) -> None:
    host.post(Commanded("reload", client))
    host.post(Planned(new or plan()))


def failing(stage: str = "lifespan") -> list:  # type: ignore[type-arg]
    return [Failed(stage, "no database", "Traceback: …")]


def test_start_brings_up_all_workers_and_a_spare_template() -> None:
    host = start()
    assert len(host.workers()) == 3
    assert [worker.slot for worker in host.workers()] == [0, 1, 2]
    release = host.state.releases[1]
    assert release.template is not None
    assert release.spare is not None
    assert release.spare.ready


def test_start_fails_with_exit_code_3_when_the_import_fails() -> None:
    host = start(on_import=lambda _: [Failed("import", "SyntaxError: bad", "trace")])
    assert host.exit_code == 3
    assert host.logged("start.failed")[0] == {"release": 1, "cause": "import: SyntaxError: bad", "traceback": "trace"}


def test_start_fails_with_exit_code_3_only_after_every_worker_has_failed() -> None:
    verdicts = iter([failing(), [Ready(0.1)], failing(), *([[Ready(0.1)]] * 5)])
    host = start(on_start=lambda _: next(verdicts))
    host.wait(10)
    assert host.exit_code is None
    assert len(host.workers()) == 3

    lost = start(on_start=lambda _: failing())
    assert lost.exit_code == 3
    assert len(lost.logged("worker.failed")) == 3


def test_a_dead_worker_is_replaced_at_once_and_repeated_deaths_back_off_to_the_cap() -> None:
    host = start(plan(workers=1))
    waits = []
    for _ in range(7):
        host.kill(host.workers()[0].id)
        died = host.now
        while not host.workers():
            host.wait(0.25, step=0.25)
        waits.append(host.now - died)
    assert waits[0] == 0
    assert waits[1:] == pytest.approx([1, 2, 4, 8, 8, 8], abs=0.26)


def test_back_off_is_forgotten_after_a_quiet_time() -> None:
    host = start(plan(workers=1))
    for _ in range(4):
        host.kill(host.workers()[0].id)
        host.wait(20)
    host.wait(61)
    host.kill(host.workers()[0].id)
    assert len(host.workers()) == 1, "replaced at once again"


def test_several_workers_killed_at_once_are_all_replaced_at_once() -> None:
    host = start(plan(workers=4))
    for worker in host.workers():
        host.kill(worker.id)
    assert len(host.workers()) == 4


def test_a_service_that_served_is_never_given_up() -> None:
    host = start(plan(workers=1))
    host.on_start = lambda _: failing()
    host.kill(host.workers()[0].id)
    host.wait(500)
    assert host.exit_code is None
    assert not host.workers()
    host.on_start = lambda _: [Ready(0.1)]
    host.wait(12)
    assert len(host.workers()) == 1


def test_a_replacement_is_forked_from_the_serving_releases_template() -> None:
    host = start()
    template = host.state.releases[1].template
    assert template is not None
    actions = host.kill(host.workers()[0].id)
    forks = [action for action in actions if isinstance(action, ForkWorker)]
    assert [fork.template for fork in forks] == [template.id]


def test_a_hung_worker_has_its_stacks_written_then_is_killed_and_replaced() -> None:
    host = start(plan(workers=1))
    host.beats = False
    host.wait(33)
    actions = [type(action).__name__ for action in host.actions]
    assert actions.index("DumpStacks") < actions.index("Kill")
    host.beats = True
    host.wait(3)
    assert len(host.workers()) == 1
    assert "hung" in str(host.logged("worker.died")[0]["reason"])


def test_a_pause_of_the_supervisor_itself_is_no_hang() -> None:
    host = start()
    host.beats = False
    host.wait(2)
    host.wait(3600, step=3600)  # one tick, an hour later
    assert not host.logged("worker.hung")


def test_reload_switches_all_workers_at_once_and_parks_the_old_template() -> None:
    host = start()
    begun = len(host.actions)
    reload(host)
    sends = [action.message for action in host.actions[begun:] if isinstance(action, Send)]
    assert [type(message) for message in sends] == [Serve] * 3 + [Drain] * 3
    assert host.state.serving == 2
    assert host.state.releases[1].parked_until == host.now + 600
    assert {worker.release for worker in host.workers()} == {2}
    assert host.replies()[-1].error == ""


def test_a_reload_is_announced_once_the_old_workers_accept_nothing_more() -> None:
    host = start(drains=False)
    reload(host)
    assert not host.replies()
    for worker in host.workers("draining"):
        host.post(Said(worker.id, Accepted()))
    assert host.replies()[-1].result["release"] == 2
    assert host.logged("reload.done")


def test_an_old_worker_that_hangs_does_not_hold_up_the_announcement_of_a_reload() -> None:
    host = start(drains=False)
    reload(host)
    host.wait(3)
    assert host.replies()[-1].result["release"] == 2


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ({"on_import": lambda _: [Failed("import", "SyntaxError")]}, "import: SyntaxError"),
        ({"on_start": lambda _: failing()}, "lifespan: no database"),
        ({"on_start": lambda _: failing("probe")}, "probe: no database"),
    ],
)
def test_reload_that_fails_leaves_the_old_release_untouched(behaviour: dict, cause: str) -> None:  # type: ignore[type-arg]
    host = start()
    before = [worker.pid for worker in host.workers()]
    for name, value in behaviour.items():
        setattr(host, name, value)
    reload(host)
    assert [worker.pid for worker in host.workers()] == before
    assert host.state.serving == 1
    assert host.replies()[-1].error == f"cannot reload: {cause}"
    assert list(host.state.releases) == [1], "nothing of the failed release is left"
    assert not [action for action in host.actions if isinstance(action, Send) and isinstance(action.message, Drain)]

    host.on_start = lambda _: [Ready(0.1)]
    actions = host.kill(host.workers()[0].id)
    assert [fork.release for fork in actions if isinstance(fork, ForkWorker)] == [1]


def test_reload_that_fails_on_the_last_of_its_workers_leaves_the_old_release_untouched() -> None:
    host = start()
    verdicts = iter([[Ready(0.1)], [Ready(0.1)], failing()])
    host.on_start = lambda _: next(verdicts)
    reload(host)
    assert {worker.release for worker in host.workers()} == {1}
    assert len(host.workers()) == 3
    assert not [action for action in host.actions if isinstance(action, Send) and isinstance(action.message, Drain)]


def test_reload_with_an_unusable_configuration_is_told_and_changes_nothing() -> None:
    host = start()
    host.post(Commanded("reload", 7))
    host.post(PlanFailed("cannot use the configuration: no such key"))
    assert host.replies()[-1].error == "cannot reload: cannot use the configuration: no such key"
    assert len(host.workers()) == 3


def test_reload_during_a_reload_is_refused_and_the_first_goes_on() -> None:
    host = start(on_import=lambda _: [Imported("main:app", 0.1)])
    host.on_import = lambda _: []
    reload(host, client=1)
    host.post(Commanded("reload", 2))
    assert host.replies()[-1].client == 2
    assert "another change is under way" in host.replies()[-1].error
    template = host.state.releases[2].template
    assert template is not None
    host.post(Said(template.id, Imported("main:app", 9.0)))
    assert host.state.serving == 2


def test_reload_in_batches_replaces_so_many_at_a_time() -> None:
    batched = dataclasses.replace(RESTARTS, batch=1)
    host = start(plan(restarts=batched))
    host.drains = False
    reload(host, plan(restarts=batched))
    serving = [(worker.release, worker.state) for worker in host.state.workers.values()]
    assert serving.count((2, "serving")) == 1
    assert serving.count((1, "draining")) == 1, "the next batch waits until a seat is free"
    assert serving.count((1, "serving")) == 2
    host.drains = True
    for worker in host.workers("draining"):
        host.post(Exited(host.alive.pop(worker.id), "exit code 0", clean=True))
    host.wait(1)
    assert {worker.release for worker in host.workers()} == {2}


def test_reload_in_batches_starts_no_worker_that_it_does_not_keep() -> None:
    batched = dataclasses.replace(RESTARTS, batch=1)
    host = start(plan(restarts=batched))
    begun = len(host.actions)
    reload(host, plan(restarts=batched))
    started = [action for action in host.actions[begun:] if isinstance(action, ForkWorker)]
    assert len(started) == 3
    assert [worker.release for worker in host.workers()] == [2, 2, 2]
    assert {fields["reason"] for fields in host.logged("worker.left")} == {
        "release 2 takes its place",
        "release 2 serves",
    }


def test_rollback_forks_from_the_parked_template_without_the_disk() -> None:
    host = start()
    reload(host)
    begun = len(host.actions)
    host.post(Commanded("rollback", 9))
    actions = host.actions[begun:]
    assert not [action for action in actions if isinstance(action, SpawnTemplate | SpawnWorker)]
    assert host.state.serving == 1
    assert {worker.release for worker in host.workers()} == {1}
    assert host.state.releases[2].parked_until is not None, "and the way forward is kept"


def test_rollback_without_a_parked_release_is_refused() -> None:
    host = start()
    host.post(Commanded("rollback", 9))
    assert "no earlier release is kept" in host.replies()[-1].error


def test_a_parked_release_is_dropped_when_its_time_is_over() -> None:
    host = start()
    reload(host)
    host.wait(601, step=30)
    assert list(host.state.releases) == [2]


def test_a_release_that_listened_elsewhere_is_not_parked() -> None:
    host = start()
    reload(host, plan(binds=(Bind("tcp", "127.0.0.1", 9000),)))
    assert list(host.state.releases) == [2]


def test_a_dead_template_is_succeeded_by_its_spare() -> None:
    host = start()
    release = host.state.releases[1]
    template, spare = release.template, release.spare
    assert template is not None
    assert spare is not None
    host.kill(template.id)
    assert release.template is spare
    assert release.spare is not None
    actions = host.kill(host.workers()[0].id)
    assert [fork.template for fork in actions if isinstance(fork, ForkWorker)] == [spare.id]


def test_template_and_spare_dead_together_start_a_new_template_and_say_so() -> None:
    host = start()
    release = host.state.releases[1]
    assert release.template is not None
    assert release.spare is not None
    host.on_import = lambda _: []
    host.kill(release.spare.id)
    pending = release.spare
    assert pending is not None
    host.kill(pending.id)
    template = release.template
    release.spare = None
    host.state.templates = {template.id: template}
    host.kill(template.id)
    host.kill(host.workers()[0].id)
    assert host.logged("template.reimport")
    assert len(host.workers()) == 2, "the others serve on"
    fresh = host.state.releases[1].template
    assert fresh is not None
    host.post(Said(fresh.id, Imported("main:app", 1.0)))
    assert len(host.workers()) == 3


def test_a_template_that_does_not_answer_a_fork_is_killed_and_its_spare_forks() -> None:
    host = start()
    release = host.state.releases[1]
    template = release.template
    assert template is not None
    pid = host.alive.pop(template.id)  # it hears nothing any more
    host.kill(host.workers()[0].id)
    assert len(host.workers("forking")) == 1
    host.wait(16)
    assert [action for action in host.actions if isinstance(action, Kill) and action.pid == pid]
    host.post(Exited(pid, "signal SIGKILL"))
    assert len(host.workers()) == 3


def test_an_app_that_is_unsafe_to_fork_gets_workers_of_its_own_and_names_why() -> None:
    host = start(on_import=lambda _: [Imported("main:app", 0.1, ("thread poller",))])
    assert len(host.workers()) == 3
    assert [action for action in host.actions if isinstance(action, SpawnWorker)]
    assert host.logged("release.unsafe_to_fork")[0]["found"] == ["thread poller"]


def test_preload_on_forks_in_spite_of_threads() -> None:
    host = start(plan(preload="on"), on_import=lambda _: [Imported("main:app", 0.1, ("thread poller",))])
    assert not [action for action in host.actions if isinstance(action, SpawnWorker)]
    assert host.logged("release.unsafe_to_fork")


def test_forked_workers_that_never_get_ready_are_started_fresh() -> None:
    host = start(on_start=lambda _: [])
    host.on_start = lambda _: [Ready(0.1)]
    host.wait(70)
    assert len(host.workers()) == 3
    assert all(worker.template is None for worker in host.workers())
    assert host.exit_code is None


def test_a_worker_that_wants_to_be_recycled_leaves_after_its_successor_serves() -> None:
    host = start()
    old = host.workers()[0]
    host.post(Said(old.id, WantsRecycle("max_requests reached")))
    begun = len(host.actions)
    host.wait(2)
    sends = [action for action in host.actions[begun:] if isinstance(action, Send)]
    assert [type(send.message) for send in sends] == [Serve, Drain]
    assert sends[1].process == old.id
    assert len(host.workers()) == 3


def test_max_age_recycles_one_worker_at_a_time() -> None:
    host = start(plan(restarts=dataclasses.replace(RESTARTS, max_age=100)))
    first = {worker.id for worker in host.workers()}
    host.wait(101)
    host.on_start = lambda _: []
    host.wait(10)
    assert sum(worker.retiring for worker in host.workers()) == 1
    host.on_start = lambda _: [Ready(0.1)]
    assert first


@pytest.mark.parametrize(("order", "count"), [("6", 6), ("+1", 4), ("-2", 1)])
def test_scale_changes_the_number_of_workers(order: str, count: int) -> None:
    host = start()
    host.post(Commanded("scale", 5, order))
    assert len(host.workers()) == count
    assert host.replies()[-1].result == {"workers": count}


@pytest.mark.parametrize("order", ["0", "-3", "x", "", "513", "1e9"])
def test_scale_refuses_what_cannot_be(order: str) -> None:
    host = start()
    host.post(Commanded("scale", 5, order))
    assert "cannot scale" in host.replies()[-1].error
    assert len(host.workers()) == 3


def test_scale_during_a_reload_holds_for_the_release_that_comes() -> None:
    host = start()
    host.on_import = lambda _: []
    reload(host)
    host.post(Commanded("scale", 5, "5"))
    template = host.state.releases[2].template
    assert template is not None
    host.post(Said(template.id, Imported("main:app", 0.1)))
    assert len(host.workers()) == 5
    assert {worker.release for worker in host.workers()} == {2}


def test_a_number_scaled_by_hand_survives_a_reload_and_a_new_configured_one_wins() -> None:
    host = start()
    host.post(Commanded("scale", 5, "5"))
    reload(host)
    assert len(host.workers()) == 5
    reload(host, plan(workers=2))
    assert len(host.workers()) == 2


def test_stop_drains_all_closes_the_sockets_and_exits_with_0() -> None:
    host = start()
    actions = host.post(Commanded("stop"))
    assert all(send.message.last for send in actions if isinstance(send, Send) and isinstance(send.message, Drain))
    assert [action for action in actions if isinstance(action, CloseAccept)]
    assert host.exit_code == 0
    assert not host.alive


def test_stop_during_a_reload_ends_the_reload_with_an_answer() -> None:
    host = start()
    host.on_import = lambda _: []
    reload(host)
    host.post(Commanded("stop"))
    assert host.replies()[-1].error == "cannot reload: the service is stopping"
    assert host.exit_code == 0
    assert not host.alive


def test_stop_during_the_first_start_is_no_error() -> None:
    host = start(on_import=lambda _: [])
    actions = host.post(Commanded("stop"))
    assert [a.level for a in actions if isinstance(a, Log) and a.event == "start.failed"] == ["warning"]
    assert host.exit_code == 0


def test_a_second_stop_at_once_kills_what_still_drains() -> None:
    host = start(drains=False)
    host.post(Commanded("stop"))
    assert host.exit_code is None
    host.post(Commanded("stop", now=True))
    assert host.exit_code == 0


def test_a_worker_that_does_not_finish_its_drain_is_killed() -> None:
    host = start(drains=False)
    host.post(Commanded("stop"))
    host.wait(40)
    assert host.exit_code == 0
    assert len(host.logged("worker.drain_overdue")) == 3


def test_an_exit_that_is_reaped_before_its_pid_is_known_is_not_lost() -> None:
    host = start(plan(workers=1))
    template = host.state.releases[1].template
    assert template is not None
    host.alive.pop(template.id)
    host.kill(host.workers()[0].id)
    forking = host.workers("forking")[0]
    host.post(Exited(555, "exit code 1"))
    host.post(Said(template.id, Forked(forking.id, 555)))
    assert forking.id not in host.state.workers


def test_a_worker_that_is_ready_before_its_template_says_it_is_born_serves() -> None:
    host = start(plan(workers=1))
    template = host.state.releases[1].template
    assert template is not None
    host.alive.pop(template.id)
    host.kill(host.workers()[0].id)
    forking = host.workers("forking")[0]
    host.post(Said(forking.id, Ready(0.01)))
    host.post(Said(template.id, Forked(forking.id, 555)))
    assert forking.state == "serving"


def test_an_unlisted_transition_raises() -> None:
    worker = Worker(1, 0, 1, born=0.0, deadline=None)
    with pytest.raises(KeyError):
        worker.move("serve")


def test_messages_of_a_process_that_is_off_the_books_are_dropped() -> None:
    host = start()
    assert machine.handle(host.state, Said(9999, Ready(0.1)), host.now, 0.5) == []


def looked_after(host: FakeHost) -> list[Plan]:
    return [action.plan for action in host.actions if isinstance(action, LookAfterCertificates)]


def test_certificates_are_looked_after_when_a_release_serves_and_not_before() -> None:
    host = start(on_start=lambda _: [])
    assert looked_after(host) == []
    host.post(Said(host.workers("starting")[0].id, Ready(0.1)))
    assert looked_after(host) == [plan()]


def test_certificates_of_a_release_that_fails_are_not_looked_after() -> None:
    host = start()
    host.on_start = lambda _: failing()
    reload(host, plan(2))
    assert looked_after(host) == [plan()]
    host.on_start = lambda _: [Ready(0.1)]
    reload(host, plan(2))
    assert looked_after(host) == [plan(), plan(2)]
