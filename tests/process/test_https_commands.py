"""The user's commands: hooks, and what sets DNS records."""

import subprocess
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
