"""The user's commands: hooks, and what sets DNS records."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from service import alive, wait_gone

from fairlead.https.commands import run_command


def test_command_has_its_variables_and_the_apps_pythonpath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("_FAIRLEAD_PYTHONPATH", "/theirs")
    command = ("sh", "-c", 'echo "$PYTHONPATH $NAME ${_FAIRLEAD_PYTHONPATH-}"; echo errors >&2; exit 3')
    assert run_command(command, {"NAME": "a.test"}, 20.0) == (3, "/theirs a.test \nerrors")


def test_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_command(("sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"), {}, 1.0)
    pid = int((tmp_path / "pid").read_text())
    wait_gone({pid})
    assert not alive(pid)


def test_command_that_takes_too_long_is_not_waited_for_by_what_has_left_its_group() -> None:
    script = "setsid sleep 30 & echo $!; wait"
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as told:
        run_command(("sh", "-c", script), {}, 1.0)
    assert time.monotonic() - begun < 20
    assert told.value.output is None or told.value.output.strip().isdigit()
    if told.value.output:
        os.kill(int(told.value.output), signal.SIGKILL)
