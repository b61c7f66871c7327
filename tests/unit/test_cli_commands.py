"""The command as a person meets it: exit codes, stdout, stderr. The supervisor is a script on a real socket."""

import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from fairlead import __version__
from fairlead.cli.become import plan_file
from fairlead.cli.main import main
from fairlead.cli.planning import planning_command
from fairlead.cli.run import check_platform
from fairlead.errors import InputError
from fairlead.plan.model import Plan
from fairlead.worker.http1 import protocol

REPORT = {
    "name": "shop",
    "pid": os.getpid(),
    "version": "0.1.0",
    "uptime": 1.0,
    "cwd": "/srv/shop",
    "release": {"number": 1, "state": "serving", "started": "2026-11-23T06:22:31.000+00:00"},
    "releases": [
        {"number": 1, "state": "serving", "template_pid": None, "spare_pid": None, "workers": 0, "mode": "fork"}
    ],
    "target_workers": 0,
    "listeners": ["http://127.0.0.1:8000"],
    "workers": [],
    "certificates": [],
    "restarts": [],
    "restarts_total": 0,
    "operation": None,
    "last_failure": None,
}


@pytest.fixture(autouse=True)
def clean_place(tmp_path, monkeypatch):
    """A working folder of its own and an environment without our variables."""
    for name in [name for name in os.environ if name.startswith("FAIRLEAD_")]:
        monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FAIRLEAD_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def fairlead(capfd):
    """Runs the command: (exit code, stdout, stderr)."""

    def run(*arguments: str):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def supervisor(tmp_path):
    """Answers every request with the lines given for its command; returns the requests."""
    threads, listeners = [], []

    def start(answers, name="shop"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / f"{name}.sock"))
        listener.listen()
        requests = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rwb") as stream:
                    if line := stream.readline():
                        requests.append(json.loads(line))
                        for answer in answers[requests[-1]["command"]]:
                            stream.write(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        listeners.append(listener)
        return requests

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(10)


def plan_to_pipe(fairlead, *arguments: str) -> tuple[int, Plan | None, str]:
    read, write = os.pipe()
    code, _, err = fairlead("run", *arguments, "--plan-to", str(write))
    if code:
        os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    return code, Plan.from_json(text) if text else None, err


def test_version_is_printed(fairlead):
    compiled = not str(protocol.__file__).endswith(".py")
    assert fairlead("--version") == (0, f"fairlead {__version__} (HTTP {'' if compiled else 'not '}compiled)\n", "")


def test_help_lists_the_verbs(fairlead):
    code, out, _ = fairlead("--help")
    assert code == 0
    for verb in ("run", "config", "status", "reload", "rollback", "scale", "stop", "reopen"):
        assert f"  {verb} " in out


def test_unknown_flag_is_bad_input(fairlead):
    code, _, err = fairlead("run", "--prot", "1")
    assert code == 2
    assert "--prot" in err


def test_plan_is_written_into_the_descriptor(fairlead):
    Path("main.py").touch()
    code, plan, _ = plan_to_pipe(
        fairlead, "--port", "9000", "--workers", "3", "--no-access-log", "--log-format", "json"
    )
    assert code == 0
    assert plan.name == "work"
    assert plan.app.module == "main"
    assert (plan.binds[0].port, plan.replication.workers) == (9000, 3)
    assert (plan.log.access, plan.log.format) == (False, "json")
    assert plan.cwd == str(Path.cwd())


def test_plan_knows_the_command_that_makes_it_again(fairlead):
    Path("main.py").touch()
    _, plan, _ = plan_to_pipe(fairlead, "main.py", "--port", "9000")
    assert plan.command == (sys.executable, "-P", "-m", "fairlead.cli.main", "run", "main.py", "--port", "9000")
    _, again, _ = plan_to_pipe(fairlead, *plan.command[5:])
    assert again == plan


@pytest.mark.parametrize("given", [["run", "--plan-to", "5", "a"], ["run", "a", "--plan-to=5"], ["run", "a"]])
def test_descriptor_is_no_part_of_the_planning_command(given):
    assert planning_command(given)[4:] == ("run", "a")


def test_every_flag_reaches_its_setting(fairlead):
    Path("src/shop").mkdir(parents=True)
    Path("src/shop/web.py").touch()
    flags = ["shop.web:make", "--factory", "--app-dir", "src", "--name", "x", "--bind", "fd:3", "--bind", "unix:a.sock"]
    code, plan, err = plan_to_pipe(fairlead, *flags)
    assert (code, err) == (0, "")
    assert (plan.app.module, plan.app.attribute, plan.app.factory) == ("shop.web", "make", True)
    assert plan.app.dir == str(Path.cwd() / "src")
    assert plan.name == "x"
    assert [str(bind) for bind in plan.binds] == ["fd:3", f"unix:{Path.cwd()}/a.sock"]


def test_configuration_errors_are_one_block_without_traceback(fairlead):
    Path("fairlead.toml").write_text("[http]\nprot = 1\nport = 70000\n")
    code, plan, err = plan_to_pipe(fairlead)
    assert (code, plan) == (2, None)
    assert err == (
        "error: cannot use the configuration:\n"
        "  fairlead.toml:3: http.port = 70000: allowed: a whole number from 0 to 65535\n"
        "  fairlead.toml:2: http.prot: no such key; did you mean port?\n"
    )


def test_flag_that_cannot_be_used_is_named(fairlead):
    Path("main.py").touch()
    _, _, err = plan_to_pipe(fairlead, "--workers", "many", "--log-format", "yaml", "--port", "99999")
    assert '--workers: replication.workers = "many": allowed: a whole number from 1 to 512, "auto" or {' in err
    assert '--log-format: log.format = "yaml": allowed: "auto", "text" or "json"' in err
    assert "--port: http.port = 99999: allowed: a whole number from 0 to 65535" in err


def test_missing_app_is_bad_input(fairlead):
    code, _, err = plan_to_pipe(fairlead)
    assert code == 2
    assert err.startswith("error: cannot find the app in ")


def test_target_of_the_file_counts_from_the_file(fairlead, tmp_path):
    (tmp_path / "etc/web").mkdir(parents=True)
    (tmp_path / "etc/web/main.py").touch()
    (tmp_path / "etc/shop.toml").write_text('[app]\ntarget = "web/main.py"\n')
    _, plan, _ = plan_to_pipe(fairlead, "--config", "../etc/shop.toml")
    assert plan.app.file == str(tmp_path / "etc/web/main.py")
    assert plan.name == "etc"
    code, _, err = plan_to_pipe(fairlead, "web/main.py", "--config", "../etc/shop.toml")
    assert code == 2
    assert f"no file {Path.cwd()}/web/main.py" in err


def test_descriptor_that_is_not_open_is_bad_input(fairlead):
    Path("main.py").touch()
    code, _, err = fairlead("run", "--plan-to", "987")
    assert code == 2
    assert err == "error: cannot write the plan to descriptor 987: Bad file descriptor\n"


def test_working_folder_that_is_gone_is_told(fairlead):
    Path.cwd().rmdir()
    assert fairlead("status")[2].startswith("error: cannot use the working folder: No such file or directory")


def test_other_systems_are_refused_in_one_line():
    with pytest.raises(InputError, match="cannot run on darwin: Fairlead needs Linux"):
        check_platform("darwin")


def test_plan_file_is_read_from_its_beginning_by_the_next_program(fairlead):
    Path("main.py").touch()
    _, plan, _ = plan_to_pipe(fairlead)
    descriptor = plan_file(plan.to_json())
    assert os.get_inheritable(descriptor)
    with os.fdopen(descriptor) as file:
        assert Plan.from_json(file.read()) == plan


def test_config_prints_every_value_with_its_origin(fairlead, monkeypatch):
    Path("fairlead.toml").write_text('[restarts]\nhang_timeout = "1m"\n')
    monkeypatch.setenv("FAIRLEAD_HTTP_BACKLOG", "5")
    code, out, _ = fairlead("config")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["restarts.hang_timeout", '"1m"', "fairlead.toml:2"] in lines
    assert ["http.backlog", "5", "FAIRLEAD_HTTP_BACKLOG"] in lines
    assert ["http.port", "8000", "default"] in lines


def test_config_prints_json(fairlead):
    Path("fairlead.toml").write_text('[restarts]\nhang_timeout = "1m"\n')
    data = json.loads(fairlead("config", "--json")[1])
    assert data["restarts"]["hang_timeout"] == {"value": 60.0, "origin": "fairlead.toml:2"}


def test_config_prints_its_schema(fairlead):
    schema = json.loads(fairlead("config", "--schema")[1])
    assert schema["additionalProperties"] is False
    assert "port" in schema["$defs"]["HttpSettings"]["properties"]


def test_config_tells_values_without_effect(fairlead):
    Path("fairlead.toml").write_text("[restarts]\nmax_age_jitter = 1\n")
    assert fairlead("config")[2].startswith("note: restarts.max_age_jitter (fairlead.toml:2) has no effect")


def test_reload_prints_progress_and_result(fairlead, supervisor):
    done = {"ok": True, "result": {"release": 2, "workers": 4, "seconds": 1.234}}
    requests = supervisor({"reload": [{"progress": "importing the app"}, done]})
    assert fairlead("reload") == (0, "shop: release 2 serves with 4 workers, after 1.2s\n", "importing the app\n")
    assert requests == [{"command": "reload", "arguments": {}}]


def test_failed_reload_exits_with_1_and_the_cause(fairlead, supervisor):
    failed = {"ok": False, "error": "cannot reload: [bold] the app fails", "detail": "Traceback\nValueError: x"}
    supervisor({"reload": [failed]})
    assert fairlead("reload") == (1, "", "error: cannot reload: [bold] the app fails\nTraceback\nValueError: x\n")


def test_rollback_prints_the_release(fairlead, supervisor):
    supervisor({"rollback": [{"ok": True, "result": {"release": 1, "workers": 4, "seconds": 0.21}}]})
    assert fairlead("rollback")[:2] == (0, "shop: release 1 serves with 4 workers, after 210ms\n")


@pytest.mark.parametrize("number", ["6", "+1", "-1"])
def test_scale_takes_numbers_and_changes(fairlead, supervisor, number):
    requests = supervisor({"scale": [{"ok": True, "result": {"workers": 6}}]})
    assert fairlead("scale", number)[:2] == (0, "shop: 6 workers\n")
    assert requests[0]["arguments"] == {"workers": number}


@pytest.mark.parametrize("number", ["six", "+", "1.5", "--1", ""])
def test_scale_refuses_what_is_no_number(fairlead, number):
    code, _, err = fairlead("scale", number)
    assert code == 2
    assert "allowed: a number such as 6, or a change such as +1 or -1" in err


def test_reopen_says_so(fairlead, supervisor):
    supervisor({"reopen": [{"ok": True, "result": {}}]})
    assert fairlead("reopen")[:2] == (0, "shop: log files opened again\n")


@pytest.mark.parametrize(("flags", "now"), [([], False), (["--now"], True)])
def test_stop_that_takes_too_long_is_told(fairlead, supervisor, flags, now):
    requests = supervisor({"stop": [{"ok": True, "result": {}}]})
    code, _, err = fairlead("stop", "--timeout", "50ms", *flags)
    assert code == 1
    assert err.startswith("error: cannot stop shop: it still runs after 50ms")
    assert requests[0]["arguments"] == {"now": now}


def test_stop_refuses_a_timeout_that_is_none(fairlead):
    assert fairlead("stop", "--timeout", "soon")[0] == 2


def test_status_is_shown(fairlead, supervisor):
    supervisor({"status": [{"ok": True, "result": REPORT}]})
    code, out, _ = fairlead("status")
    assert code == 0
    assert out.startswith("shop  release 1 serving · up 1s")


def test_status_is_printed_as_json_with_the_memory(fairlead, supervisor):
    worker = {"pid": os.getpid(), "state": "serving"}
    supervisor({"status": [{"ok": True, "result": REPORT | {"workers": [worker, {"pid": None}]}}]})
    data = json.loads(fairlead("status", "--json")[1])
    assert data["workers"][0]["pss_bytes"] >= data["workers"][0]["uss_bytes"] > 1_000_000
    assert data["workers"][1]["pss_bytes"] is None
    assert data["memory"]["total_pss"] == pytest.approx(data["memory"]["supervisor_pss"], rel=0.5)


def test_status_of_nobody_exits_with_1(fairlead, tmp_path):
    assert fairlead("status") == (1, "", f"error: cannot find an instance: none is running (looked into {tmp_path})\n")


def test_watch_needs_a_terminal(fairlead, supervisor):
    supervisor({"status": [{"ok": True, "result": REPORT}]})
    code, _, err = fairlead("status", "--watch")
    assert code == 2
    assert "the output is no terminal" in err


def test_watch_and_json_exclude_each_other(fairlead):
    assert fairlead("status", "--watch", "--json")[0] == 2


def test_several_instances_are_bad_input(fairlead, supervisor):
    supervisor({}, "shop")
    supervisor({}, "blog")
    code, _, err = fairlead("status")
    assert code == 2
    assert "blog, shop are running; name one with --name" in err
