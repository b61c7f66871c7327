import dataclasses
import os
import threading
from pathlib import Path

import pytest

from fairlead.companions.policy import Companion
from fairlead.errors import FairleadError
from fairlead.memory.policy import MemoryPolicy
from fairlead.plan.model import AppPlan, Bind
from fairlead.replication.policy import ReplicationPolicy
from fairlead.steps.fingerprint import fingerprint
from fairlead.steps.policy import Step
from fairlead.steps.records import Ran, Records
from fairlead.testing.fake_host import make_plan


def plan_in(folder: Path, **changes):
    (folder / "main.py").write_text("app = 1\n")
    given = {"app": AppPlan("main", dir=str(folder)), "state_dir": str(folder / "state"), **changes}
    return make_plan(**given)


def test_record_survives_and_is_shared_by_instances_of_the_same_app(tmp_path):
    plan = plan_in(tmp_path)
    with Records(plan).locked(1, lambda: None):
        Records(plan).remember("migrate", Ran("abc", 1.0, 0.5))
    assert Records(dataclasses.replace(plan, name="other")).read() == {"migrate": Ran("abc", 1.0, 0.5)}


def test_nothing_remembered_is_no_error_and_rubbish_is_one(tmp_path):
    records = Records(plan_in(tmp_path))
    assert records.read() == {}
    with records.locked(1, lambda: None):
        records.remember("a", Ran("x", 1.0, 0.1))
    [record] = (tmp_path / "state").glob("*.json")
    record.write_text("{")
    with pytest.raises(FairleadError, match="move it away"):
        records.read()


def test_state_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "state").write_text("a file")
    with (
        pytest.raises(FairleadError, match=r"cannot use the state directory .*FAIRLEAD_STATE_DIR"),
        Records(plan_in(tmp_path)).locked(1, lambda: None),
    ):
        pass


def test_lock_is_held_by_one_and_the_next_is_told_that_it_waits(tmp_path):
    records = Records(plan_in(tmp_path))
    told, got = threading.Event(), []

    def second():
        with Records(plan_in(tmp_path)).locked(20, told.set):
            got.append("second")

    thread = threading.Thread(target=second)
    with records.locked(1, lambda: None):
        thread.start()
        assert told.wait(20)
        got.append("first")
    thread.join(20)
    assert got == ["first", "second"]


def test_lock_that_is_never_free_is_given_up(tmp_path):
    with (
        Records(plan_in(tmp_path)).locked(1, lambda: None),
        pytest.raises(FairleadError, match="for too long"),
        Records(plan_in(tmp_path)).locked(0.2, lambda: None),
    ):
        pass


def test_fingerprint_changes_with_code_configuration_and_steps_alone(tmp_path):
    plan = plan_in(tmp_path)
    before = fingerprint(plan)
    (tmp_path / "shop.db").write_text("data of the app")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.py").write_text("not code")
    os.utime(tmp_path / "main.py", (1, 1))
    assert fingerprint(dataclasses.replace(plan, name="other", cwd="/", runtime_dir="/x")) == before
    with_step = dataclasses.replace(plan, steps=(Step("a", ("a",)),))
    assert fingerprint(with_step) != before
    (tmp_path / "main.py").write_text("app = 2\n")
    changed = fingerprint(plan)
    assert changed != before
    (tmp_path / "alembic.ini").write_text("")
    assert fingerprint(plan) != changed


def test_fingerprint_changes_with_installed_packages_however_their_records_are_written(tmp_path, monkeypatch):
    plan = plan_in(tmp_path)
    packages = tmp_path / "site-packages"
    (packages / "Typing_Extensions-4.16.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr("sys.path", [str(packages), str(tmp_path / "not there")])
    before = fingerprint(plan)
    (packages / "Typing_Extensions-4.16.0.dist-info").rename(packages / "typing-extensions-4.16.0.dist-info")
    assert fingerprint(plan) == before
    (packages / "typing-extensions-4.16.0.dist-info").rename(packages / "typing_extensions-4.17.0.dist-info")
    assert fingerprint(plan) != before


def test_fingerprint_of_an_app_in_src_counts_the_migrations_beside_it(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "migrations").mkdir()
    plan = dataclasses.replace(plan_in(tmp_path / "src"), cwd=str(tmp_path))
    before = fingerprint(plan)
    (tmp_path / "migrations" / "0001.py").write_text("def upgrade(): ...\n")
    assert fingerprint(plan) != before
    link = tmp_path.parent / f"{tmp_path.name}-current"
    link.symlink_to(tmp_path)
    assert fingerprint(dataclasses.replace(plan, cwd=str(link))) == fingerprint(plan)


def test_fingerprint_does_not_look_into_other_projects_of_the_folder_above(tmp_path):
    project, other = tmp_path / "shop" / "src", tmp_path / "other"
    project.mkdir(parents=True)
    other.mkdir()
    (tmp_path / "shop" / "pyproject.toml").write_text("")
    plan = dataclasses.replace(plan_in(project), cwd=str(tmp_path))
    before = fingerprint(plan)
    (other / "x.py").write_text("somebody else's\n")
    assert fingerprint(plan) == before
    (tmp_path / "shop" / "x.py").write_text("ours\n")
    assert fingerprint(plan) != before


def test_fingerprint_does_not_wait_for_the_writer_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "queue")
    os.mkfifo(tmp_path / "queue.sql")
    plan = dataclasses.replace(plan_in(tmp_path), cwd=str(tmp_path), steps=(Step("a", ("cat", "queue")),))
    assert fingerprint(plan) == fingerprint(plan)


@pytest.mark.parametrize("run", [("./migrate", "up"), ("sh", "-c", "cd . && ./migrate>/dev/null"), ("sh", "migrate")])
def test_fingerprint_counts_the_scripts_that_steps_name(tmp_path, run):
    (tmp_path / "migrate").write_text("#!/bin/sh\n")
    plan = dataclasses.replace(plan_in(tmp_path), cwd=str(tmp_path), steps=(Step("a", run),))
    before = fingerprint(plan)
    (tmp_path / "migrate").write_text("#!/bin/sh\necho more\n")
    after = fingerprint(plan)
    assert after != before
    (tmp_path / "other").write_text("named by nobody")
    assert fingerprint(plan) == after
    (tmp_path / "helper.sh").write_text("called by the script")
    assert fingerprint(plan) != after


def test_fingerprint_counts_no_data_and_no_installed_program_that_a_step_names(tmp_path):
    run = ("sh", "-c", ".venv/bin/load shop.db > load.log")
    plan = dataclasses.replace(plan_in(tmp_path), cwd=str(tmp_path), steps=(Step("load", run),))
    before = fingerprint(plan)
    (tmp_path / "shop.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "load.log").write_text("loaded\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "load").write_text("#!/somewhere/.venv/bin/python\n")
    assert fingerprint(plan) == before


def test_fingerprint_counts_what_the_settings_say_and_not_where_they_are_written(tmp_path):
    step = Step("a", ("a",), env=(("TABLE", "x"),))
    plan = dataclasses.replace(plan_in(tmp_path), steps=(step,))
    before = fingerprint(plan)
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 9000\n")
    assert fingerprint(plan) == before
    for same in (
        {"binds": (Bind("tcp", "127.0.0.1", 9000),)},
        {"replication": ReplicationPolicy(7)},
        {"memory": MemoryPolicy(budget=1)},
        {"steps": (dataclasses.replace(step, timeout=1.0, retries=3, lock="postgresql://other/way"),)},
    ):
        assert fingerprint(dataclasses.replace(plan, **same)) == before, same
    for other in (
        {"app": dataclasses.replace(plan.app, attribute="another")},
        {"http": dataclasses.replace(plan.http, root_path="/api")},
        {"companions": (Companion("queue", ("queue",)),)},
        {"steps": (dataclasses.replace(step, env=(("TABLE", "y"),)),)},
    ):
        assert fingerprint(dataclasses.replace(plan, **other)) != before, other


def test_fingerprint_is_the_same_wherever_the_code_lies(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert fingerprint(plan_in(tmp_path / "a")) == fingerprint(plan_in(tmp_path / "b"))
