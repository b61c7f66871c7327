"""What `fairlead run` starts first of all, and what it takes over from the start before."""

import os
import signal
import time
from pathlib import Path

from service import PLAIN_APP, Service

from fairlead.host.forerunner import Forerunner
from fairlead.host.memory import read_memory


def started() -> Forerunner:
    forerunner = Forerunner.start()
    assert forerunner is not None
    return forerunner


def ended(pid: int) -> int:
    """Its exit status, within a while."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.01)
    raise AssertionError(f"{pid} is still there")


def test_forerunner_that_nobody_wants_ends_without_a_word() -> None:
    forerunner = started()
    os.close(forerunner.descriptor)
    assert ended(forerunner.pid) == 0


def test_forerunner_that_is_gone_is_no_use() -> None:
    forerunner = started()
    os.kill(forerunner.pid, signal.SIGKILL)
    assert ended(forerunner.pid) == signal.SIGKILL
    assert forerunner.begin(("1",), ()) is None


def test_dismissed_forerunner_is_gone_and_reaped() -> None:
    forerunner = started()
    forerunner.dismiss()
    assert not Path(f"/proc/{forerunner.pid}").exists()


def test_bad_configuration_leaves_no_process_behind(service: Service) -> None:
    service.write(PLAIN_APP)
    service.configure("[http]\nport = -1\n")
    done = service.command("run", "--name", "nobody")
    assert done.returncode == 2
    assert "http.port" in done.stderr
    assert not [path for path in Path("/proc").glob("[0-9]*/cwd") if _leads_to(path, service.folder)]


def test_start_like_the_one_before_resolves_nothing_and_serves_the_same(service: Service) -> None:
    service.configure("[replication]\nworkers = 1\n")
    service.start()
    assert (_supervisor_was_made(service), service.get()["version"]) == (True, "one")
    assert service.stop() == 0

    service.write(PLAIN_APP.replace('"one"', '"two"'))
    service.start()
    assert (_supervisor_was_made(service), service.get()["version"]) == (False, "two")
    assert service.process is not None
    reading = read_memory(service.process.pid)
    assert reading is not None
    assert reading.pss < 20e6
    service.configure("[replication]\nworkers = 2\n")
    assert service.ask("reload")["ok"]  # the planner never takes what was kept
    service.wait_until(lambda: len(service.serving()) == 2, "two workers")
    assert service.stop() == 0

    service.start()
    assert _supervisor_was_made(service)
    service.wait_until(lambda: len(service.serving()) == 2, "two workers")
    assert service.stop() == 0


def _supervisor_was_made(service: Service) -> bool:
    """Whether the command had to become another program, because it had pydantic in it."""
    assert service.process is not None
    return b"fairlead.supervisor" in Path(f"/proc/{service.process.pid}/cmdline").read_bytes()


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False
