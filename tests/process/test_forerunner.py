"""What `fairlead run` starts first of all, and what it takes over from the start before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
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


# Prints whether the forerunner is a new program, and its exit status once nobody wants it. It dies by itself, or by the alarm.
LIFE = """
import os, sys
{first}
from fairlead.host.forerunner import Forerunner
forerunner = Forerunner.start()
is_new = open(f"/proc/{{forerunner.pid}}/cmdline").read() != open("/proc/self/cmdline").read()
os.close(forerunner.descriptor)
import signal
signal.alarm(30)
print(is_new, os.waitpid(forerunner.pid, 0)[1])
"""


@pytest.mark.parametrize(
    ("first", "is_new"),
    [
        ("", False),
        ("import threading", True),
        (
            "import _thread; lock = _thread.allocate_lock(); lock.acquire(); _thread.start_new_thread(lock.acquire, ())",
            True,
        ),
    ],
    ids=["alone", "threading", "a thread"],
)
def test_forerunner_that_nobody_wants_ends_without_a_word(first: str, is_new: bool) -> None:
    """Forked where that is safe, and started where something else has begun threads."""
    script = LIFE.format(first=first)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([str(is_new), "0"], "")


def test_forerunner_is_a_new_program_when_python_was_given_options() -> None:
    """Later templates would not have them."""
    done = subprocess.run(
        [sys.executable, "-O", "-c", LIFE.format(first="")], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == (["True", "0"], "")


@pytest.mark.parametrize(("given", "code"), [("", 0), ("0", 0), ("3", 3), ("'a reason'", 1)])
def test_what_ends_itself_in_a_fork_of_the_forerunner_ends_as_python_does(given: str, code: int) -> None:
    script = f"""
import os, sys
from fairlead.host import forerunner
def become(arguments):
    import atexit
    atexit.register(lambda: sys.stdout.write("handler "))
    sys.stdout.write("buffered ")
    sys.exit({given})
forerunner._become_program = become
process = forerunner.Forerunner.start()
print(os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["buffered", "handler", str(code)]
    assert done.stderr == ("a reason\n" if "reason" in given else "")


def test_forked_forerunner_is_the_program_that_a_started_one_is() -> None:
    script = """
import os, sys, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from fairlead.host import forerunner
real = forerunner._become_program
def become(arguments):
    import fairlead.worker.__main__ as program
    def main(given):
        print(given == arguments, sys.modules["__main__"] is program, sys.argv[1:] == arguments, os.getpgid(0) == os.getpid())
        print(signal.getsignal(signal.SIGHUP) == signal.SIG_DFL, os.readlink("/proc/self/fd/0"), os.getcwd() in sys.path, sys.flags.safe_path)
        return 7
    program.main = main
    real(arguments)
forerunner._become_program = become
process = forerunner.Forerunner.start()
print(os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.stderr == ""
    assert done.stdout.split() == ["True"] * 5 + ["/dev/null", "False", "True", "7"]


def test_mistake_in_a_forked_forerunner_is_told_and_ends_it_alone() -> None:
    script = """
import os
from fairlead.host import forerunner
forerunner._PROGRAM = "fairlead.no_such_program"
process = forerunner.Forerunner.start()
print("the parent goes on", os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "the parent goes on 1"
    assert "No module named 'fairlead.no_such_program'" in done.stderr


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
