"""Reload and rollback: new code without a dropped request, and a failed deploy that harms nothing."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from service import Service, descendants, wait_gone

VERSIONED = """
    import asyncio, os
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    {top}

    @asynccontextmanager
    async def lifespan(app):
        {lifespan}
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def root():
        return {{"pid": os.getpid(), "version": "{version}"}}

    @app.get("/healthz")
    async def healthz():
        {health}
        return {{}}

    @app.get("/slow/{{seconds}}")
    async def slow(seconds: float):
        await asyncio.sleep(seconds)
        return {{"pid": os.getpid(), "version": "{version}"}}

    @app.get("/endless")
    async def endless():
        async def chunks():
            while True:
                yield b"data: tick\\n\\n"
                await asyncio.sleep(0.05)
        return StreamingResponse(chunks(), media_type="{media}")
"""


def app(
    version: str, top: str = "", lifespan: str = "pass", health: str = "pass", media: str = "text/event-stream"
) -> str:
    return VERSIONED.format(version=version, top=top, lifespan=lifespan, health=health, media=media)


def open_stream(service: Service) -> socket.socket:
    """A client of the endless stream that has seen its first bytes."""
    client = socket.create_connection(("127.0.0.1", service.port), timeout=20)
    client.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
    seen = b""
    while b"tick" not in seen:
        seen += client.recv(4096)
    return client


def test_reload_takes_in_new_code_and_the_command_says_so(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "2")
    service.write(app("two"))
    done = service.command("reload")
    assert done.returncode == 0, done.stderr
    assert {service.get()["version"] for _ in range(10)} == {"two"}
    assert service.status()["release"]["number"] == 2


def test_hup_reloads(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.write(app("two"))
    service.signal(signal.SIGHUP)
    service.wait_for("reload.done")
    assert service.get()["version"] == "two"


def test_a_reload_of_a_wrong_configuration_says_so_in_one_clear_line(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.configure("[replication]\nworkerz = 2\n")
    failed = service.command("reload")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: cannot reload: cannot ")
    assert failed.stderr.count("error:") == 1
    assert failed.stderr.count("cannot") == 2, failed.stderr
    assert "workerz" in failed.stderr


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("def broken(:\n", "SyntaxError"),
        (app("two", lifespan="raise RuntimeError('migrations are missing')"), "migrations are missing"),
        (app("two", top="os._exit(4)"), "exit code 4"),
    ],
    ids=["syntax error", "failing lifespan", "exit at import"],
)
def test_a_reload_that_fails_harms_nothing_and_a_killed_worker_comes_back_with_the_old_code(
    service: Service, broken: str, cause: str
) -> None:
    service.write(app("one"))
    service.start("--workers", "2")
    before = {worker["pid"] for worker in service.serving()}
    service.write(broken)
    failed = service.command("reload")
    assert failed.returncode == 1
    assert "cannot reload" in failed.stderr
    assert cause in failed.stderr
    assert {worker["pid"] for worker in service.serving()} == before
    assert cause in service.status()["last_failure"]

    mark = service.mark()
    os.kill(before.pop(), signal.SIGKILL)
    service.wait_for("worker.serving", since=mark)
    assert {service.get()["version"] for _ in range(20)} == {"one"}
    assert len(service.serving(release=1)) == 2


def test_a_reload_whose_probe_fails_harms_nothing(service: Service) -> None:
    service.configure("[startup]\nprobe = '/healthz'\nprobe_timeout = '20s'\n")
    service.write(app("one"))
    service.start("--workers", "1")
    service.write(app("two", health="raise RuntimeError('not well')"))
    failed = service.command("reload")
    assert failed.returncode == 1
    assert "probe" in failed.stderr
    assert service.get()["version"] == "one"


def test_a_reload_with_a_bad_configuration_names_the_key_and_harms_nothing(service: Service) -> None:
    service.start("--workers", "1")
    service.configure("[restarts]\nhang_timeut = '30s'\n")
    failed = service.command("reload")
    assert failed.returncode == 1
    assert "hang_timeut" in failed.stderr
    assert "hang_timeout" in failed.stderr
    assert service.get()["version"] == "one"


def test_a_reload_whose_working_folder_is_gone_fails_and_harms_nothing(service: Service) -> None:
    folder = service.folder
    service.start("--workers", "1")
    control = service.socket_path().relative_to(folder)
    moved = folder.rename(folder.with_name("moved"))
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(moved / control))
            sock.sendall(b'{"command": "reload"}\n')
            answer = json.loads(sock.makefile().readlines()[-1])
        assert not answer["ok"]
        assert f"cannot read the configuration in {folder}: No such file or directory" in answer["error"]
    finally:
        moved.rename(folder)
    assert service.command("reload").returncode == 0


def test_a_reload_follows_the_link_the_service_was_started_in(service: Service) -> None:
    for release in ("one", "two"):
        service.write(app(release), f"{release}/main.py")
    current = service.folder / "current"
    current.symlink_to("one")
    enter = ("env", "-C", str(current), f"PWD={current}")
    service.start("--workers", "1", prefix=enter)
    assert service.get()["version"] == "one"
    current.unlink()
    current.symlink_to("two")
    assert (answer := service.ask("reload"))["ok"], answer
    assert service.get()["version"] == "two"
    assert (answer := service.ask("rollback"))["ok"], answer
    assert service.get()["version"] == "one"


def test_a_reload_reads_the_configuration_again(service: Service) -> None:
    service.configure("[replication]\nworkers = 1\n")
    service.start()
    service.configure("[replication]\nworkers = 3\n")
    assert service.command("reload").returncode == 0
    service.wait_until(lambda: len(service.serving(release=2)) == 3, "three workers serve")


def test_a_reload_may_listen_elsewhere_and_leaves_the_old_place(service: Service) -> None:
    service.configure("[http]\nport = 0\n[replication]\nworkers = 1\n")
    service.start(bind=None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service.configure(f"[http]\nport = {port}\n[replication]\nworkers = 1\n")
        refused = service.command("reload")
        assert refused.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
        assert service.get()["version"] == "one"
    assert service.command("reload").returncode == 0
    old, service.port = service.port, port
    assert service.get()["version"] == "one"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old), timeout=5)


def test_a_second_reload_during_one_is_refused(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.write(app("two", top="import time; time.sleep(2)"))
    first = threading.Thread(target=service.command, args=("reload",))
    first.start()
    service.wait_for("release.begin", release=2)
    second = service.command("reload")
    assert second.returncode == 1
    assert "another change is under way" in second.stderr
    first.join()
    assert service.get()["version"] == "two"


def test_requests_in_flight_are_answered_by_the_old_release(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(service.get("/slow/2", timeout=20)["version"]))
    slow.start()
    service.wait_until(lambda: service.serving()[0]["in_flight"] == 1, "the request is in flight")
    service.write(app("two"))
    assert service.command("reload").returncode == 0
    assert service.get()["version"] == "two"
    slow.join()
    assert answers == ["one"]


@pytest.mark.parametrize("media", ["text/event-stream", "application/octet-stream"])
def test_an_endless_stream_does_not_hold_up_a_reload_nor_a_stop_during_it(service: Service, media: str) -> None:
    service.configure("[restarts]\ndrain_timeout = '2s'\nstream_spread = '200ms'\nidle_grace = '500ms'\n")
    service.write(app("one", media=media))
    service.start("--workers", "1")
    client = open_stream(service)
    try:
        assert service.command("reload").returncode == 0
        family = descendants(service.pid)
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 15
        wait_gone(family)
    finally:
        client.close()


def test_an_event_stream_is_ended_properly_at_the_beginning_of_the_drain(service: Service) -> None:
    service.configure("[restarts]\ndrain_timeout = '30s'\nstream_spread = '500ms'\nidle_grace = '500ms'\n")
    service.write(app("one"))
    service.start("--workers", "1")
    with open_stream(service) as client:
        begun = time.monotonic()
        assert service.command("reload").returncode == 0
        seen = b""
        while chunk := client.recv(65536):
            seen += chunk
        assert seen.endswith(b"0\r\n\r\n"), "the chunked body has its end"
        assert time.monotonic() - begun < 15


def test_a_stop_during_a_reload_is_obeyed(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.write(app("two", top="import time; time.sleep(60)"))
    service.signal(signal.SIGHUP)
    service.wait_for("release.begin", release=2)
    family = descendants(service.pid)
    begun = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - begun < 10
    wait_gone(family)


def test_a_stop_while_the_configuration_is_read_again_blames_nobody(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.signal(signal.SIGHUP)
    service.wait_for("reload.begin")
    family = descendants(service.pid)
    assert service.stop() == 0
    wait_gone(family)
    assert service.logged("reload.failed")
    assert [record["processes"] for record in service.logged("stop.left_over")] == []


def test_every_signal_is_answered_in_the_middle_of_a_reload(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "1")
    service.write(app("two", top="import time; time.sleep(4)"))
    service.signal(signal.SIGHUP)
    service.wait_for("release.begin", release=2)
    service.signal(signal.SIGTTIN)
    service.wait_for("scale", workers=2)
    service.wait_until(lambda: len(service.serving(release=1)) == 2, "the old release has grown")
    service.signal(signal.SIGTTIN)
    service.signal(signal.SIGTTOU)
    service.signal(signal.SIGUSR1)
    service.signal(signal.SIGHUP)
    service.wait_for("reload.refused")
    assert service.status()["operation"]
    service.wait_for("reload.done")
    service.wait_until(lambda: len(service.serving(release=2)) == 2, "and so has the new one")


def test_rollback_goes_back_without_touching_the_disk(service: Service) -> None:
    service.write(app("one"))
    service.start("--workers", "2")
    service.write(app("two"))
    reload = service.ask("reload")
    assert reload["ok"], reload
    service.write("raise RuntimeError('broken on disk')\n")
    rollback = service.ask("rollback")
    assert rollback["ok"], rollback
    assert rollback["result"]["seconds"] < reload["result"]["seconds"], "nothing is imported"
    assert {service.get()["version"] for _ in range(10)} == {"one"}
    assert service.ask("rollback")["ok"], "and forward again"
    assert {service.get()["version"] for _ in range(10)} == {"two"}


def test_rollback_with_nothing_parked_is_refused(service: Service) -> None:
    service.start("--workers", "1")
    refused = service.command("rollback")
    assert refused.returncode == 1
    assert "no earlier release is kept" in refused.stderr


def test_a_parked_release_leaves_when_its_time_is_over(service: Service) -> None:
    service.configure("[restarts]\npark = '1s'\nidle_grace = '100ms'\n")
    service.start("--workers", "1")
    template = service.status()["releases"][0]["template_pid"]
    assert service.command("reload").returncode == 0
    service.wait_for("release.dropped", release=1)
    wait_gone({template})


def test_batches_replace_so_many_at_a_time(service: Service) -> None:
    service.configure("[restarts]\nbatch = 1\nidle_grace = '100ms'\n[replication]\nworkers = 3\n")
    service.write(app("one"))
    service.start()
    service.write(app("two"))
    assert service.command("reload").returncode == 0
    assert len(service.serving(release=2)) == 3
    service.wait_for("reload.done")
    told = [record for record in service.records if record["entity"] == "supervisor"]
    order = [(r["event"], r.get("release")) for r in told if r["event"] in ("worker.serving", "worker.draining")]
    reloaded = [event for event, _ in order][3:]
    assert reloaded == ["worker.serving", "worker.draining"] * 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_200_reloads_leave_no_memory_descriptors_or_zombies_behind(service: Service) -> None:
    service.configure("[restarts]\nidle_grace = '50ms'\nstream_spread = '0s'\npark = '60s'\n")
    service.write(
        "async def app(scope, receive, send):\n    if scope['type'] == 'lifespan':\n        raise RuntimeError\n"
    )
    service.start("--workers", "1")

    def reload_times(count: int) -> None:
        for _ in range(count):
            answer = service.ask("reload")
            assert answer["ok"], answer

    def weigh() -> tuple[int, int, int]:
        service.wait_until(lambda: len(service.status()["workers"]) == 1, "only the new worker is left")
        # The worker, its template with the spare, and the parked template: each has descriptors here.
        service.wait_until(lambda: len(descendants(service.pid)) == 4, "templates have left, and the spare is there")
        rollup = Path(f"/proc/{service.pid}/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private"))
        states = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in descendants(service.pid)
        ]
        return private, len(os.listdir(f"/proc/{service.pid}/fd")), states.count("Z")

    reload_times(20)
    memory, descriptors, _ = weigh()
    reload_times(180)
    memory_after, descriptors_after, zombies = weigh()
    assert descriptors_after <= descriptors + 1
    assert zombies == 0
    assert memory_after - memory < 1024, f"kB: {memory} before, {memory_after} after"
    assert service.status()["release"]["number"] == 201
