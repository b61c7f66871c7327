"""Companions as real processes: programs and functions of the app."""

import json
import os
import signal
from pathlib import Path

import pytest
from service import Service, alive

APP = """
    import asyncio, os, signal, time
    from fastapi import FastAPI

    TABLE = bytearray(20_000_000)
    app = FastAPI()

    def main():
        with open("jobs", "a") as file:
            file.write(f"{os.getpid()} {os.environ.get('MARK')}\\n")
        signal.pause()

    async def amain():
        main_file = open("async-jobs", "a")
        main_file.write(f"{os.getpid()}\\n")
        main_file.close()
        await asyncio.sleep(600)
"""


def configure(service: Service, *companions: str, memory: str = "", settle_time: str = "1s") -> None:
    service.write(APP)
    tables = "".join(f"\n    [[companions]]\n    settle_time = '{settle_time}'\n    {text}" for text in companions)
    service.configure(f"    [replication]\n    workers = 1\n    {memory}\n{tables}")


def told(folder: Path, name: str = "jobs") -> list[list[str]]:
    path = folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("memory", ["", "[memory]\n    preload = 'off'"])
def test_function_of_the_app_runs_once_with_its_variables_and_is_started_again(service: Service, memory: str) -> None:
    configure(service, "name = 'jobs'\n    run = 'main:main'\n    env = { MARK = 'here' }", memory=memory)
    service.start()
    service.wait_until(lambda: told(service.folder), "the companion runs")
    pid = service.status()["companions"][0]["pid"]
    assert told(service.folder) == [[str(pid), "here"]]
    os.kill(pid, signal.SIGKILL)
    service.wait_for("companion.died", reason="signal SIGKILL")
    service.wait_until(lambda: len(told(service.folder)) == 2, "it was started again")
    assert service.stop() == 0
    assert not [line for line in told(service.folder) if alive(int(line[0]))]


def test_async_function_runs_in_a_loop_and_holds_no_listening_socket(service: Service) -> None:
    configure(service, "name = 'jobs'\n    run = 'main:amain'")
    service.start()
    service.wait_until(lambda: told(service.folder, "async-jobs"), "the companion runs")
    pid = int(told(service.folder, "async-jobs")[0][0])
    listening = {inode for inode in sockets_of(service.serving()[0]["pid"]) if inode in listening_inodes()}
    assert listening
    assert not listening & sockets_of(pid)


def sockets_of(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def listening_inodes() -> set[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {line.split()[9] for line in lines if line.split()[3] == "0A"}


def test_reload_replaces_a_program_and_without_overlap_two_never_run_at_once(service: Service) -> None:
    script = "mkdir held || exit 9; trap 'rmdir held; exit 0' TERM; echo $$ x >> jobs; while :; do sleep 0.05; done"
    configure(service, f'name = "alone"\n    run = ["sh", "-c", "{script}"]\n    overlap = false')
    service.start()
    assert service.command("reload").returncode == 0
    service.wait_until(lambda: len(told(service.folder)) == 2, "the new one runs")
    assert not service.logged("companion.died")
    assert service.stop() == 0
    assert not (service.folder / "held").exists()


def test_program_that_a_shell_runs_ends_with_it_before_the_next_one_begins(service: Service) -> None:
    inner = "mkdir held || exit 9; trap 'sleep 0.5; rmdir held; exit 0' TERM; echo $$ x >> jobs; while :; do sleep 0.05; done"
    service.write(inner, "inner")
    configure(service, 'name = "alone"\n    run = ["sh", "-c", "sh inner; true"]\n    overlap = false')
    service.start()
    service.wait_until(lambda: told(service.folder), "it runs")
    assert service.command("reload").returncode == 0
    service.wait_until(lambda: len(told(service.folder)) == 2, "the new one runs")
    assert not service.logged("companion.died")
    first, second = (int(line[0]) for line in told(service.folder))
    assert not alive(first)
    shell = service.status()["companions"][0]["pid"]
    os.kill(shell, signal.SIGKILL)
    service.wait_for("companion.died")
    assert not alive(second)


def test_program_that_ignores_the_end_of_its_shell_is_killed_in_time(service: Service) -> None:
    service.write("trap '' TERM; echo $$ x >> jobs; while :; do sleep 0.05; done", "inner")
    configure(service, 'name = "deaf"\n    run = ["sh", "-c", "sh inner; true"]\n    stop_timeout = "300ms"')
    service.start()
    service.wait_until(lambda: told(service.folder), "it runs")
    assert service.command("reload").returncode == 0
    service.wait_for("companion.killed")
    service.wait_for("companion.left", companion="deaf")
    assert not alive(int(told(service.folder)[0][0]))


def test_upgrade_while_what_a_companion_left_ends_forgets_nothing(service: Service) -> None:
    service.write("trap '' TERM; echo $$ x >> jobs; while :; do sleep 0.05; done", "inner")
    configure(
        service, 'name = "deaf"\n    run = ["sh", "-c", "sh inner; true"]\n    stop_timeout = "5s"\n    overlap = false'
    )
    service.start()
    service.wait_until(lambda: told(service.folder), "it runs")
    assert service.command("reload").returncode == 0
    service.wait_until(lambda: not alive(service.status()["companions"][0]["pid"]), "the shell has ended")
    assert service.command("upgrade").returncode == 0
    service.wait_for("companion.left", companion="deaf")
    service.wait_until(lambda: len(told(service.folder)) == 2, "the new one runs")
    assert not alive(int(told(service.folder)[0][0]))


def test_program_has_the_signals_that_it_would_have_from_a_shell(service: Service) -> None:
    configure(
        service, 'name = "signals"\n    run = ["sh", "-c", "grep SigIgn /proc/self/status > jobs; exec sleep 600"]'
    )
    service.start()
    service.wait_until(lambda: told(service.folder), "it runs")
    ignored = int(told(service.folder)[0][1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_status_shows_a_companion_that_waits_to_be_started_again_and_one_that_failed_for_good(service: Service) -> None:
    crash = 'name = "crash"\n    run = ["sh", "-c", "test -e crash || exec sleep 600; exit 4"]'
    never = 'name = "never"\n    run = ["sh", "-c", "until test -e crash; do sleep 0.05; done; exit 9"]\n    restart = "never"'
    configure(service, crash, never, memory="[restarts]\n    backoff_initial = '60s'\n    backoff_max = '60s'")
    service.start()
    service.write("", "crash")
    os.kill(service.status()["companions"][0]["pid"], signal.SIGKILL)
    service.wait_until(lambda: {one["state"] for one in service.status()["companions"]} == {"waiting", "failed"}, "so")
    shown = service.command("status").stdout
    assert "ended in a row: again in" in shown
    assert "failed: exit code 9" in shown
    assert "companion crash (r1): exit code 4" in shown


@pytest.mark.parametrize(
    ("run", "cause"),
    [
        ("'false'", "exit code 1"),
        ("'no-such-program'", "cannot run no-such-program: No such file or directory"),
        ("'main:nothing'", "has no attribute 'nothing'"),
        ("'no.module:main'", "No module named 'no'"),
    ],
)
def test_companion_that_exits_at_once_makes_the_start_fail_with_one_cause(
    service: Service, run: str, cause: str
) -> None:
    # Its time begins before the interpreter that runs it has even started, which on a busy machine takes its while.
    configure(service, f"name = 'bad'\n    run = {run}", settle_time="25s")
    service.launch()
    failed = service.wait_for("start.failed")
    assert "companion bad ended" in failed["cause"]
    assert cause in failed["cause"]
    assert service.exit_code() == 3


def test_status_shows_companions(service: Service) -> None:
    configure(service, "name = 'sleeper'\n    run = 'sleep 600'\n    replicas = 2")
    service.start()
    shown = service.command("status").stdout
    assert "sleeper/0" in shown
    assert "sleeper/1" in shown
    assert "running" in shown
    assert "of its own" in shown
    report = json.loads(service.command("status", "--json").stdout)
    parts = [report["memory"]["supervisor_pss"], *(one["pss_bytes"] for one in report["companions"])]
    assert all(parts)
    assert report["memory"]["total_pss"] > sum(parts)


def test_supervisor_that_is_killed_takes_its_companions_with_it(service: Service) -> None:
    configure(service, "name = 'sleeper'\n    run = 'sleep 600'", "name = 'jobs'\n    run = 'main:main'")
    service.start()
    pids = [one["pid"] for one in service.status()["companions"]]
    service.signal(signal.SIGKILL)
    service.exit_code()
    service.wait_until(lambda: not any(alive(pid) for pid in pids), "the companions are gone")


def test_upgrade_of_the_supervisor_keeps_the_companions_and_their_watch(service: Service) -> None:
    configure(service, "name = 'sleeper'\n    run = 'sleep 600'")
    service.start()
    before = service.status()["companions"][0]["pid"]
    assert service.command("upgrade").returncode == 0
    assert service.status()["companions"][0]["pid"] == before
    os.kill(before, signal.SIGKILL)
    service.wait_until(lambda: service.status()["companions"][0]["pid"] not in (None, before), "it was started again")
