"""What companions leave behind, with real process groups."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fairlead.companions.policy import Companion
from fairlead.supervisor.events import Exited
from fairlead.supervisor.model import CompanionRun
from fairlead.supervisor.stragglers import Stragglers


@pytest.fixture
def zombie() -> Iterator[int]:
    """The number of a group of which only a zombie is left, whose parent reaps it when this test is over."""
    script = (
        "import os, sys\n"
        "reading, writing = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n    os.setpgid(0, 0)\n    os.write(writing, b'.')\n    os._exit(0)\n"
        "os.read(reading, 1)\n"
        "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
        "print(child, flush=True)\n"
        "sys.stdin.read()\n"
        "os.waitpid(child, 0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def run(group: int, end: str | None, deadline: float | None) -> CompanionRun:
    return CompanionRun(1, 1, Companion("x", ("x",)), 0, 0.0, pid=group, end=end, deadline=deadline)


@pytest.mark.parametrize(("end", "deadline"), [(None, None), ("release 2 serves", None)])
def test_group_that_never_gets_empty_is_given_up(zombie: int, end: str | None, deadline: float | None) -> None:
    stragglers, exited = Stragglers(), Exited(zombie, "exit code 0")
    assert stragglers.stay(run(zombie, end, deadline), exited, now=100.0)
    assert stragglers.gone(101.0) == []
    assert stragglers.gone(103.0) == [exited]
    assert stragglers.gone(104.0) == []


def test_group_of_a_companion_that_was_asked_to_end_has_its_time_until_it_is_killed(zombie: int) -> None:
    stragglers, exited = Stragglers(), Exited(zombie, "exit code 0")
    assert stragglers.stay(run(zombie, "release 2 serves", 110.0), exited, now=100.0)
    assert stragglers.gone(109.0) == []
    stragglers.kill(zombie, now=110.0)
    assert stragglers.gone(113.0) == [exited]


def test_group_that_is_empty_is_not_waited_for() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
    assert not Stragglers().stay(run(process.pid, None, None), Exited(process.pid, "exit code 0"), now=100.0)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
