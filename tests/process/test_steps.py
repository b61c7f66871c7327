"""Previous steps, run by real supervisors: once per release, and nothing starts without them."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from service import Service, alive, service_in

BARE_APP = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({{"type": "lifespan.startup.complete"}})
            await send({{"type": "lifespan.shutdown.complete"}})
        else:
            await receive()
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": b"version-{version}"}})
"""
CONFIG = """
    [app]
    target = "main:app"
    [replication]
    workers = 1
"""


def configure(service: Service, *steps: str, version: str = "one") -> None:
    service.write(BARE_APP.format(version=version))
    service.configure(CONFIG + "".join(f"\n    [[steps]]\n    {step}" for step in steps))


def appends(name: str, pause: float = 0.0) -> str:
    """A step that leaves a line with its time and what code it saw."""
    script = f"grep -o version-[a-z]* main.py >> ran-{name}; sleep {pause}"
    return f"name = '{name}'\n    run = ['sh', '-c', '''{script}''']"


def lines(folder: Path, name: str) -> list[str]:
    path = folder / f"ran-{name}"
    return path.read_text().split() if path.exists() else []


def test_steps_run_in_order_before_the_first_worker_and_not_again_after_a_restart(service: Service) -> None:
    configure(service, appends("first"), appends("second"))
    service.start()
    events = [r["event"] + ":" + r["entity"] for r in service.records if r["event"] in ("step.done", "worker.serving")]
    assert events[:3] == ["step.done:step first", "step.done:step second", "worker.serving:supervisor"]
    assert service.stop() == 0
    with service_in(service.folder) as again:
        again.start()
        assert again.command("reload").returncode == 0
        assert not again.logged("step.begin")
    assert len(lines(service.folder, "first")) == len(lines(service.folder, "second")) == 1


def test_step_of_each_start_runs_at_every_start_and_reload(service: Service) -> None:
    configure(service, appends("seed") + "\n    when = 'start'")
    service.start()
    assert service.command("reload").returncode == 0
    assert len(lines(service.folder, "seed")) == 2


def test_new_code_runs_the_steps_again_and_output_is_in_the_log(service: Service) -> None:
    configure(service, "name = 'say'\n    run = 'echo from the step'")
    service.start()
    assert service.wait_for("step.output", entity="step say")["line"] == "from the step"
    service.write(BARE_APP.format(version="two"))
    since = service.mark()
    assert service.command("reload").returncode == 0
    assert service.wait_for("step.done", since=since)


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        ("run = ['sh', '-c', 'echo no such table; exit 7']", "exit code 7"),
        ("run = 'sleep 60'\n    timeout = '300ms'", "it took longer than its timeout (0.3 s)"),
        ("run = ['sh', '-c', 'kill -9 $$']", "signal SIGKILL"),
        ("run = 'no-such-program here'", "cannot start no-such-program: there is no such program"),
        ("run = 'sh -c true'\n    lock = 'postgresql://127.0.0.1:1/none'", "in PostgreSQL: "),
    ],
)
def test_failing_step_keeps_the_old_release_and_tells_the_caller(service: Service, step: str, cause: str) -> None:
    configure(service)
    service.start()
    configure(service, f"name = 'migrate'\n    {step}", version="two")
    answer = service.command("reload")
    assert answer.returncode == 1
    assert "step migrate" in answer.stderr
    assert cause in answer.stderr
    if "exit 7" in step:
        assert "no such table" in answer.stderr
    assert service.get() == "version-one"
    assert not [r for r in service.logged("release.begin") if r["release"] == 2]


def test_step_that_fails_once_is_tried_again(service: Service) -> None:
    script = "test -e tried || { touch tried; exit 1; }"
    configure(service, f"name = 'flaky'\n    run = ['sh', '-c', '{script}']\n    retries = 1")
    service.start()
    assert service.wait_for("step.failed")["level"] == "warning"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_supervisor_that_ends_takes_the_running_step_with_it(service: Service, number: int) -> None:
    configure(service, "name = 'long'\n    run = ['sh', '-c', 'echo $$ > step.pid; echo here; exec sleep 600']")
    service.launch()
    service.wait_for("step.output", line="here")
    pid = int((service.folder / "step.pid").read_text())
    service.signal(number)
    service.exit_code()
    service.wait_until(lambda: not alive(pid), "the step is gone")
    assert not lines(service.folder, "long")


def test_steps_command_lists_runs_and_looks_ahead(service: Service) -> None:
    configure(service, appends("migrate"))
    listed = service.command("steps")
    assert "never" in listed.stdout
    assert "migrate: sh -c" in service.command("steps", "run", "--plan").stdout
    assert not lines(service.folder, "migrate")
    assert service.command("steps", "run").stdout == "ran migrate\n"
    assert service.command("steps", "run").stdout == "nothing is due\n"
    assert service.command("steps", "run", "migrate").stdout == "ran migrate\n"
    assert len(lines(service.folder, "migrate")) == 2
    wrong = service.command("steps", "run", "migrat")
    assert (wrong.returncode, wrong.stderr) == (2, "error: cannot run step 'migrat': allowed: migrate\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_steps_run_that_is_ended_leaves_nothing_of_its_step(service: Service, number: int) -> None:
    configure(service, "name = 'long'\n    run = ['sh', '-c', 'sleep 600 & echo $! > step.pid; wait']")
    command = [sys.executable, "-m", "fairlead.cli.main", "steps", "run"]
    process = subprocess.Popen(
        command,
        cwd=service.folder,
        env=service.environment(),
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # what runs the tests may ignore it
    )
    path = service.folder / "step.pid"
    service.wait_until(lambda: path.exists() and path.read_text().endswith("\n"), "the step runs")
    process.send_signal(number)
    assert process.wait(30) != 0
    service.wait_until(lambda: not alive(int(path.read_text())), "what the step started is gone")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_parallel_starts_and_reloads_run_each_step_once_per_release(service: Service) -> None:
    configure(service, appends("first", 0.05), appends("second"))
    others = [Service(service.folder) for _ in range(9)]
    services = [service, *others]
    try:
        for number, one in enumerate(services):
            one.runtime = service.folder / f"runtime{number}"
            one.launch("--name", f"one{number}")
        for one in services:
            one.wait_for("start.done", timeout=250)
        for version in ("two", "three", "four", "five"):
            service.write(BARE_APP.format(version=version))
            reload_all(services)
    finally:
        for one in others:
            one.close()
    expected = {f"version-{version}": 1 for version in ("one", "two", "three", "four", "five")}
    assert Counter(lines(service.folder, "first")) == expected
    assert Counter(lines(service.folder, "second")) == expected


def reload_all(services: list[Service]) -> None:
    answers: list[dict[str, object]] = []
    threads = [threading.Thread(target=lambda one=one: answers.append(one.ask("reload", 250))) for one in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(250)
    assert [answer["ok"] for answer in answers] == [True] * len(services), answers


@pytest.mark.root
def test_steps_of_a_service_started_by_root_run_as_its_user(service: Service) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    configure(service, "name = 'who'\n    run = ['sh', '-c', 'id -un; echo $HOME']")
    service.launch("--user", "nobody")  # whose app may not be able to read this Python; the step's shell can
    service.wait_for("step.output", line="nobody")
