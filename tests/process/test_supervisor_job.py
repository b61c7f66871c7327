"""Short-lived processes of the supervisor: what they say, and that they end."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.host import processes
from fairlead.supervisor.job import JobProcess


def run_job(
    folder: Path, code: str, text: str = "", deadline: float = 20.0, act: Callable[[JobProcess], None] | None = None
):
    """Runs a module of this code; its lines and its errors."""
    (folder / "the_job.py").write_text(code)
    lines: list[str] = []

    async def whole() -> str:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        job = JobProcess.start("the_job", text, deadline, lines.append, done.set_result)
        if act:
            act(job)
        async with asyncio.timeout(20):
            while not done.done():
                for ended in processes.reap():
                    assert job.reaped(ended.pid)
                await asyncio.sleep(0.01)
        return done.result()

    errors = asyncio.run(whole())
    return lines, errors


@pytest.fixture(autouse=True)
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_job_is_given_its_text_and_its_lines_are_taken(tmp_path: Path) -> None:
    code = "import sys\nprint(sys.stdin.read().upper())\nprint('two')\nprint('hm', file=sys.stderr)"
    assert run_job(tmp_path, code, "one") == (["ONE", "two"], "hm")


def test_lines_behind_the_last_loop_are_not_lost(tmp_path: Path) -> None:
    lines, _errors = run_job(tmp_path, "for n in range(20000): print('line', n)")
    assert lines[-1] == "line 19999"
    assert len(lines) == 20000


def test_job_that_takes_too_long_is_told_to_end(tmp_path: Path) -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('told'))\ntime.sleep(60)"
    assert run_job(tmp_path, code, deadline=1.0) == ([], "told")


def test_grandchild_that_keeps_the_pipes_does_not_keep_the_job(tmp_path: Path) -> None:
    code = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid)"
    (line,), _errors = run_job(tmp_path, code)
    os.kill(int(line), 9)


def test_killed_job_has_an_end(tmp_path: Path) -> None:
    assert run_job(tmp_path, "import time\ntime.sleep(60)", act=JobProcess.kill) == ([], "")
