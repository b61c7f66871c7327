"""Crashes, hangs, loops: they cost one process, never the service."""

import os
import signal
import threading
import time

import pytest
from service import Service, alive, descendants, wait_gone

from fairlead.host.pages import resident

SLOW_APP = """
    import asyncio, os, time
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def root():
        return {"pid": os.getpid()}

    @app.get("/loop")
    async def loop():
        while True:
            pass

    @app.get("/block/{seconds}")
    async def block(seconds: float):
        time.sleep(seconds)

    @app.get("/busy/{seconds}")
    async def busy(seconds: float):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0)
        return {"pid": os.getpid()}

    @app.get("/segfault")
    async def segfault():
        import ctypes
        ctypes.string_at(0)
"""


def ask_in_background(service: Service, path: str) -> threading.Thread:
    """A request that nobody waits for."""

    def run() -> None:
        try:
            service.get(path, timeout=60)
        except OSError:
            pass
        except Exception:  # noqa: BLE001
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_killed_worker_is_replaced_at_once(service: Service) -> None:
    service.start("--workers", "2")
    victim, other = service.serving()
    mark = service.mark()
    os.kill(victim["pid"], signal.SIGKILL)
    died = service.wait_for("worker.died", since=mark)
    assert died["reason"] == "signal SIGKILL"
    assert died["replaced"] == "at once"
    service.wait_until(lambda: len(service.serving()) == 2, "a replacement serves")
    assert other["pid"] in {worker["pid"] for worker in service.serving()}
    assert service.status()["restarts"][0]["reason"] == "signal SIGKILL"


def test_an_endless_loop_is_found_its_stack_written_and_the_worker_replaced(service: Service) -> None:
    service.write(SLOW_APP)
    service.configure("[restarts]\nhang_timeout = '1s'\n")
    service.start("--workers", "1")
    victim = service.serving()[0]["pid"]
    ask_in_background(service, "/loop")
    service.wait_for("worker.hung", pid=victim)
    stacks = service.wait_for("process.stacks")
    assert "in loop" in stacks["stacks"]
    assert "most recent call first" in stacks["stacks"]
    service.wait_until(lambda: [w for w in service.serving() if w["pid"] != victim], "a replacement serves")
    assert service.get()["pid"] != victim
    assert not alive(victim)


def test_a_stopped_worker_is_killed_and_replaced(service: Service) -> None:
    service.configure("[restarts]\nhang_timeout = '1s'\n")
    service.start("--workers", "2")
    victim = service.serving()[0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    service.wait_for("worker.hung", pid=victim)
    service.wait_until(lambda: len(service.serving()) == 2, "a replacement serves")
    wait_gone({victim})


def test_a_stopped_worker_does_not_keep_others_from_accepting(service: Service) -> None:
    service.start("--workers", "2")
    victim = service.serving()[0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        for _ in range(20):
            assert service.get()["pid"] != victim
        assert time.monotonic() - begun < 5
    finally:
        os.kill(victim, signal.SIGCONT)


def test_a_busy_worker_that_still_beats_is_left_alone(service: Service) -> None:
    service.write(SLOW_APP)
    service.configure("[restarts]\nhang_timeout = '3s'\n")
    service.start("--workers", "1")
    pid = service.serving()[0]["pid"]
    assert service.get("/busy/6", timeout=60)["pid"] == pid
    assert not service.logged("worker.hung")


def test_a_segmentation_fault_leaves_its_stack_in_the_log(service: Service) -> None:
    service.write(SLOW_APP)
    service.start("--workers", "1")
    ask_in_background(service, "/segfault")
    assert service.wait_for("worker.died")["reason"] == "signal SIGSEGV"
    assert "in segfault" in service.wait_for("process.stacks")["stacks"]
    service.wait_until(service.serving, "a replacement serves")


def test_a_crash_loop_backs_off_is_told_and_recovers(service: Service) -> None:
    service.write("""
        import os, pathlib
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        flag = pathlib.Path(__file__).with_name("broken")

        @asynccontextmanager
        async def lifespan(app):
            if flag.exists():
                raise RuntimeError("the database is away")
            yield

        app = FastAPI(lifespan=lifespan)

        @app.get("/")
        def root():
            return {"pid": os.getpid()}
    """)
    service.configure("[restarts]\nbackoff_initial = '100ms'\nbackoff_max = '400ms'\n")
    service.start("--workers", "1")
    (service.folder / "broken").touch()
    os.kill(service.serving()[0]["pid"], signal.SIGKILL)
    service.wait_until(lambda: len(service.logged("worker.died")) >= 5, "it loops")
    told = service.logged("worker.died")
    assert told[0]["replaced"] == "at once"
    assert all(record["replaced"].startswith("in 0.") for record in told[1:])
    assert "the database is away" in told[2]["reason"]
    assert service.status()["last_failure"]
    (service.folder / "broken").unlink()
    service.wait_until(service.serving, "it recovers")
    assert service.get()["pid"]


def test_a_template_at_rest_has_no_pages_of_files_and_forks_as_before(service: Service) -> None:
    service.start("--workers", "1")
    template = service.status()["releases"][0]["template_pid"]

    def of_files() -> int:
        total, anonymous = resident(template)
        return total - anonymous

    service.wait_until(lambda: of_files() < 3_000_000, "what only the import needed is let go of")
    for _ in range(2):
        mark = service.mark()
        os.kill(service.serving()[0]["pid"], signal.SIGKILL)
        service.wait_for("worker.serving", since=mark)
        assert service.get()["version"] == "one"
    assert service.status()["releases"][0]["template_pid"] == template


def test_a_killed_template_is_succeeded_by_its_spare(service: Service) -> None:
    service.start("--workers", "2")
    service.wait_until(lambda: service.status()["releases"][0]["spare_pid"], "there is a spare")
    release = service.status()["releases"][0]
    before = {worker["pid"] for worker in service.serving()}
    service.write("raise RuntimeError('the code on disk is broken now')\n")
    mark = service.mark()
    os.kill(release["template_pid"], signal.SIGKILL)
    service.wait_for("template.died", since=mark)
    service.wait_until(
        lambda: service.status()["releases"][0]["spare_pid"] not in (None, release["spare_pid"]), "a new spare"
    )
    assert service.status()["releases"][0]["template_pid"] == release["spare_pid"]
    assert {worker["pid"] for worker in service.serving()} == before, "workers do not notice"
    os.kill(before.pop(), signal.SIGKILL)
    service.wait_for("worker.serving", since=mark)
    assert service.get()["version"] == "one", "the replacement has the release's code, not the disk's"


def test_template_and_spare_killed_together_are_replaced_from_the_disk_and_it_is_said(service: Service) -> None:
    service.start("--workers", "1")
    service.wait_until(lambda: service.status()["releases"][0]["spare_pid"], "there is a spare")
    release = service.status()["releases"][0]
    os.kill(release["spare_pid"], signal.SIGSTOP)
    os.kill(release["template_pid"], signal.SIGKILL)
    os.kill(release["spare_pid"], signal.SIGKILL)
    os.kill(service.serving()[0]["pid"], signal.SIGKILL)
    service.wait_for("template.reimport")
    service.wait_until(service.serving, "a replacement serves")
    assert service.get()["version"] == "one"


def test_a_supervisor_killed_with_9_leaves_no_orphan(service: Service) -> None:
    service.write(SLOW_APP)
    service.start("--workers", "3")
    ask_in_background(service, "/loop")  # one worker that cannot notice anything by itself
    service.wait_until(lambda: any(w["in_flight"] for w in service.status()["workers"]), "the loop runs")
    family = descendants(service.pid)
    assert len(family) >= 4
    service.signal(signal.SIGKILL)
    service.exit_code()
    wait_gone(family, timeout=20)


def test_max_requests_recycles_a_worker_after_its_successor_serves(service: Service) -> None:
    service.configure("[restarts]\nmax_requests = 20\n")
    service.start("--workers", "1")
    first = service.serving()[0]["pid"]
    seen = {service.get()["pid"] for _ in range(60)}
    service.wait_until(lambda: {w["pid"] for w in service.serving()} - {first}, "a successor serves")
    assert first in seen
    service.wait_for("worker.draining")
    assert "requests" in service.status()["restarts"][0]["reason"]
    names = [record["event"] for record in service.records]
    assert names.index("worker.recycling") < names.index("worker.draining")


def test_max_age_recycles_a_worker(service: Service) -> None:
    service.configure("[restarts]\nmax_age = '1s'\n")
    service.start("--workers", "1")
    first = service.serving()[0]["pid"]
    service.wait_for("worker.left", pid=first)
    assert service.get()["version"] == "one"


def test_a_worker_told_to_leave_by_hand_drains_and_is_replaced(service: Service) -> None:
    service.start("--workers", "1")
    first = service.serving()[0]["pid"]
    os.kill(first, signal.SIGTERM)
    service.wait_for("worker.died", pid=first)
    service.wait_until(service.serving, "a replacement serves")


@pytest.mark.parametrize("count", [2])
def test_all_workers_killed_at_once_are_all_replaced(service: Service, count: int) -> None:
    service.start("--workers", str(count))
    for worker in service.serving():
        os.kill(worker["pid"], signal.SIGKILL)
    service.wait_until(lambda: len(service.serving()) == count, "all are replaced")
