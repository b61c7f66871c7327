"""Starting: what comes up, what cannot, and what is said about it."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from service import PLAIN_APP, Service, alive, descendants, opened_to_others, service_in, wait_gone

import fairlead


def failed_start(service: Service, *flags: str, **options: object) -> str:
    """Starts, expects exit code 3, returns the cause."""
    service.launch(*flags, **options)  # type: ignore[arg-type]
    assert service.exit_code() == 3
    return str(service.wait_for("start.failed")["cause"])


def test_closed_standard_streams_are_nobodys(service: Service) -> None:
    service.start("--workers", "1", prefix=("sh", "-c", 'exec "$@" <&- >&-', "sh"))
    assert os.readlink(f"/proc/{service.pid}/fd/0") == os.readlink(f"/proc/{service.pid}/fd/1") == os.devnull
    assert "pid" in service.get()


def test_start_serves_with_the_wanted_number_of_workers_and_stops_with_0(service: Service) -> None:
    service.start("--workers", "3")
    assert len({worker["pid"] for worker in service.serving()}) == 3
    assert service.get()["pid"] in {worker["pid"] for worker in service.serving()}
    family = descendants(service.pid)
    assert service.stop() == 0
    wait_gone(family)


def test_an_exception_at_import_is_shown_once_with_the_users_frames_alone(service: Service) -> None:
    service.write("import helper\n")
    service.write("def broken():\n    raise ValueError('no such thing')\nbroken()\n", "helper.py")
    cause = failed_start(service)
    assert "ValueError: no such thing" in cause
    trace = str(service.wait_for("start.failed")["traceback"])
    assert 'helper.py", line 2, in broken' in trace
    assert "fairlead" not in trace.replace(str(service.folder), "")
    assert "importlib" not in trace
    assert "".join(service.raw).count("line 2, in broken") == 1


def test_sys_exit_at_import_is_named(service: Service) -> None:
    service.write("import sys\nsys.exit(7)\n")
    assert "sys.exit(7)" in failed_start(service)


def test_a_process_that_ends_itself_at_import_is_named(service: Service) -> None:
    service.write("import os\nos._exit(5)\n")
    assert "exit code 5" in failed_start(service)


def test_an_import_that_never_ends_meets_its_deadline(service: Service) -> None:
    service.write("import threading\nthreading.Event().wait()\n")
    service.configure("[startup]\nimport_timeout = '1s'\n")
    assert "import_timeout" in failed_start(service)


def test_no_app_in_the_file_is_told(service: Service) -> None:
    service.write("x = 1\n")
    assert "no FastAPI instance" in failed_start(service)


def test_several_apps_in_the_file_are_named(service: Service) -> None:
    service.write("from fastapi import FastAPI\nfirst = FastAPI()\nsecond = FastAPI()\n")
    cause = failed_start(service)
    assert "first" in cause
    assert "second" in cause


def test_a_lifespan_that_fails_ends_the_first_start(service: Service) -> None:
    service.write("""
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        @asynccontextmanager
        async def lifespan(app):
            raise RuntimeError("no database")
            yield

        app = FastAPI(lifespan=lifespan)
    """)
    cause = failed_start(service, "--workers", "2")
    assert "lifespan" in cause
    assert "no database" in cause


def test_an_exit_in_the_lifespan_ends_the_first_start(service: Service) -> None:
    service.write("""
        import os
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        @asynccontextmanager
        async def lifespan(app):
            os._exit(9)
            yield

        app = FastAPI(lifespan=lifespan)
    """)
    assert "exit code 9" in failed_start(service, "--workers", "2")


def test_a_lifespan_that_never_ends_meets_its_deadline(service: Service) -> None:
    service.write("""
        import asyncio
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        @asynccontextmanager
        async def lifespan(app):
            await asyncio.Event().wait()
            yield

        app = FastAPI(lifespan=lifespan)
    """)
    service.configure("[startup]\nlifespan_timeout = '500ms'\n")
    assert "lifespan" in failed_start(service, "--workers", "1")


def test_a_probe_that_fails_ends_the_first_start(service: Service) -> None:
    service.configure("[startup]\nprobe = '/nowhere'\nprobe_timeout = '500ms'\n")
    cause = failed_start(service, "--workers", "1")
    assert "probe" in cause
    assert "404" in cause


def test_a_taken_port_is_one_clear_line(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service.launch(bind=f"127.0.0.1:{port}")
        assert service.exit_code() == 2
    text = "".join(service.raw)
    assert text == f"error: cannot listen on 127.0.0.1:{port}: the address is taken by another process\n"


def test_an_address_that_is_not_ours_is_one_clear_line(service: Service) -> None:
    service.launch(bind="192.0.2.1:8000")
    assert service.exit_code() == 2
    assert "cannot listen on 192.0.2.1:8000: this machine has no such address" in "".join(service.raw)


def test_two_instances_of_one_name_refuse(service: Service, tmp_path_factory: pytest.TempPathFactory) -> None:
    service.start("--name", "shop", "--workers", "1")
    with service_in(tmp_path_factory.mktemp("second")) as second:
        second.write("from fastapi import FastAPI\napp = FastAPI()\n")
        second.runtime = service.runtime
        second.launch("--name", "shop")
        assert second.exit_code() == 1
        assert f"an instance named 'shop' already runs (pid {service.pid})" in "".join(second.raw)
    assert service.get()["version"] == "one"


def test_a_stale_control_socket_is_no_obstacle(service: Service) -> None:
    service.start("--name", "shop", "--workers", "1")
    family = descendants(service.pid)
    service.signal(signal.SIGKILL)
    service.exit_code()
    wait_gone(family)
    assert (service.runtime / "shop.sock").exists()
    service.records.clear()
    service.start("--name", "shop", "--workers", "1")
    assert service.get()["version"] == "one"


def test_threads_left_by_the_import_mean_fresh_workers_and_are_named(service: Service) -> None:
    service.write("""
        import os, threading
        from fastapi import FastAPI

        app = FastAPI()
        threading.Thread(target=threading.Event().wait, name="price-poller", daemon=True).start()

        @app.get("/")
        def root():
            return {"threads": [thread.name for thread in threading.enumerate()]}
    """)
    service.start("--workers", "2")
    assert service.wait_for("release.unsafe_to_fork")["found"] == ["thread price-poller"]
    assert "price-poller" in service.get()["threads"], "the thread runs in the worker"
    assert service.status()["releases"][0]["mode"] == "fresh"


def test_sockets_left_by_the_import_mean_fresh_workers_and_are_named(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:
        port = database.getsockname()[1]
        service.write(f"""
            import socket
            from fastapi import FastAPI

            app = FastAPI()
            connection = socket.create_connection(("127.0.0.1", {port}))
        """)
        service.start("--workers", "1")
        assert f"127.0.0.1:{port}" in service.wait_for("release.unsafe_to_fork")["found"][0]


def test_a_library_that_hangs_after_a_fork_leads_to_fresh_workers(service: Service) -> None:
    service.write("""
        import os, threading
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        importer = os.getpid()

        @asynccontextmanager
        async def lifespan(app):
            if os.getpid() != importer:
                threading.Event().wait()  # what a native thread pool does whose threads are gone
            yield

        app = FastAPI(lifespan=lifespan)
    """)
    service.configure("[startup]\nlifespan_timeout = '2s'\n")
    service.start("--workers", "2")
    assert service.wait_for("release.unsafe_to_fork")["found"] == ["a forked worker that never became ready"]
    assert service.status()["releases"][0]["mode"] == "fresh"


@pytest.mark.slow
def test_a_fork_that_never_returns_leads_to_fresh_workers(service: Service) -> None:
    service.write("""
        import os, threading
        from fastapi import FastAPI

        lock = threading.Lock()
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release)  # and never in the child
        app = FastAPI()
    """)
    service.start("--workers", "1")
    assert service.wait_for("release.unsafe_to_fork")["found"] == ["a fork that never returned"]


def test_preload_off_starts_every_worker_from_the_disk(service: Service) -> None:
    service.configure("[memory]\npreload = 'off'\n")
    service.start("--workers", "2")
    assert service.status()["releases"][0]["template_pid"] is None


def test_forked_workers_have_random_numbers_of_their_own(service: Service) -> None:
    service.write("""
        import os, random
        import numpy
        from fastapi import FastAPI

        app = FastAPI()
        random.random()
        numpy.random.rand()

        @app.get("/")
        def root():
            return {"pid": os.getpid(), "python": random.random(), "numpy": numpy.random.rand()}
    """)
    service.start("--workers", "2")
    seen: dict[int, tuple[float, float]] = {}
    for _ in range(200):
        answer = service.get()
        seen.setdefault(answer["pid"], (answer["python"], answer["numpy"]))
        if len(seen) == 2:
            break
    first, second = seen.values()
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_unix_socket_is_served_with_its_mode(service: Service) -> None:
    path = service.folder / "app.sock"
    service.configure("[http]\nunix_mode = '0600'\n")
    service.launch("--workers", "1", bind=f"unix:{path}")
    service.wait_for("start.done")
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.1 200")
    assert service.stop() == 0
    assert not path.exists()


def test_ipv6_and_several_binds_are_served_together(service: Service) -> None:
    service.launch("--workers", "1", "--bind", "[::1]:0")
    started = service.wait_for("supervisor.started")
    service.wait_for("start.done")
    assert len(started["listening"]) == 2
    for address in started["listening"]:
        host, _, port = address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")


def test_an_inherited_socket_is_served_and_left_open(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        service.launch("--workers", "1", bind=f"fd:{given.fileno()}", pass_fds=(given.fileno(),))
        service.wait_for("start.done")
        service.port = given.getsockname()[1]
        assert service.get()["version"] == "one"
        assert service.stop() == 0
        assert given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start as root")
def test_started_as_root_everything_but_the_supervisor_runs_as_the_user(service: Service) -> None:
    service.write("""
        import os
        from fastapi import FastAPI

        app = FastAPI()
        at_import = os.getuid()

        @app.get("/")
        def root():
            return {"import": at_import, "now": os.getuid(), "groups": os.getgroups()}
    """)
    for folder in (service.folder, *service.folder.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    places = {Path(sys.base_prefix), Path(sys.prefix), Path(fairlead.__file__).parent}
    prefix = opened_to_others(service.folder / "cover", *places)
    service.start("--workers", "1", "--user", "nobody", prefix=prefix)
    answer = service.get()
    assert answer["import"] == answer["now"] == 65534
    assert 0 not in answer["groups"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start as root")
def test_started_as_root_without_a_user_says_so(service: Service) -> None:
    service.start("--workers", "1")
    assert any("root" in str(note["text"]) for note in service.logged("note"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a PID namespace")
def test_pid_1_in_a_namespace_serves_reaps_orphans_and_stops(service: Service) -> None:
    service.write("""
        import os, subprocess
        from fastapi import FastAPI

        app = FastAPI()

        @app.get("/")
        def root():
            return {"parent": os.getppid()}

        @app.get("/orphan")
        def orphan():
            # A grandchild whose parent is gone at once, and which then ends itself.
            return {"pid": subprocess.check_output(["sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!"], text=True).strip()}

        @app.get("/zombies")
        def zombies():
            states = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    states.append(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0])
                except OSError:
                    pass
            return {"zombies": states.count("Z")}
    """)
    service.start("--workers", "1", prefix=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    assert service.get()["parent"] == 1, "the supervisor is process 1"
    service.get("/orphan")
    service.wait_until(lambda: service.get("/zombies")["zombies"] == 0, "the orphan is reaped")
    inside = int(Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text())
    os.kill(inside, signal.SIGTERM)
    assert service.exit_code() == 0
    assert not alive(inside)


STARTER = """
    import subprocess
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/start/{trap}")
    def start(trap: str):
        # Its parent is gone at once, so it is nobody's; one that traps TERM ends by KILL alone.
        script = f"trap '{trap}' TERM; echo $$; while :; do sleep 0.1; done"
        command = ["setsid", "--fork", "sh", "-c", script]
        return {"pid": int(subprocess.Popen(command, stdout=subprocess.PIPE, text=True).stdout.readline())}
"""


def test_what_the_app_left_behind_ends_with_the_service_and_is_named(service: Service) -> None:
    service.write(STARTER)
    service.start("--workers", "1")
    willing, stubborn = service.get("/start/exit")["pid"], service.get("/start/:")["pid"]
    assert service.stop() == 0
    wait_gone({willing, stubborn})
    said = [str(entry) for record in service.logged("stop.left_over") for entry in record["processes"]]
    assert f"{willing} sh" in said
    assert f"{stubborn} sh" in said


def test_what_the_shell_before_us_started_is_not_ended(service: Service) -> None:
    service.start(
        "--workers", "1", prefix=("sh", "-c", 'sleep 60 >/dev/null 2>&1 & echo $! >shells.pid; exec "$@"', "sh")
    )
    shells = int((service.folder / "shells.pid").read_text())
    assert service.stop() == 0
    assert alive(shells)
    os.kill(shells, signal.SIGKILL)


def test_a_replacement_from_the_disk_with_other_code_than_its_release_is_named(service: Service) -> None:
    service.configure("[memory]\npreload = 'off'\n")
    service.write(PLAIN_APP)
    service.start("--workers", "2")
    first, second = (worker["pid"] for worker in service.serving())
    os.kill(first, signal.SIGKILL)
    service.wait_until(lambda: len({w["pid"] for w in service.serving()} - {first, second}) == 1, "a replacement")
    assert not service.logged("release.other_code")
    service.write(PLAIN_APP + "    print('other')\n")
    os.kill(second, signal.SIGKILL)
    service.wait_for("release.other_code")


def test_modules_named_like_the_standard_librarys_on_pythonpath_harm_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("logging", "token", "select", "json", "signal", "socket", "dataclasses"):
        service.write("raise RuntimeError('not for Fairlead')\n", f"lib/{name}.py")
    service.write("import os\nSEEN = os.environ['PYTHONPATH']\n", "lib/mine.py")
    monkeypatch.setenv("PYTHONPATH", str(service.folder / "lib"))
    service.configure("""
        [[steps]]
        name = "import"
        run = ["sh", "-c", 'test "$PYTHONPATH" = "$SERVICE_UNDER_TEST/lib"']
    """)
    service.write("""
        import os
        import mine
        from fastapi import FastAPI

        app = FastAPI()

        @app.get("/")
        def root():
            return {"seen": mine.SEEN, "kept": [name for name in os.environ if "FAIRLEAD_PYTHONPATH" in name]}
    """)
    service.start("--workers", "1")
    assert service.get() == {"seen": str(service.folder / "lib"), "kept": []}
    reloaded = service.command("reload")
    assert reloaded.returncode == 0, reloaded.stderr
