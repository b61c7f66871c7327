"""`fairlead upgrade` to another Python: the supervisor changes its interpreter, the workers theirs with the next reload."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from service import Service

PROJECT = Path(__file__).parents[2]
APP = """
import json, sys

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(list(sys.version_info[:2])).encode()})
"""


def other_python() -> str | None:
    """An interpreter of another version that Fairlead runs on: on the PATH, or one of pyenv's."""
    for minor in {11, 12, 13} - {sys.version_info.minor}:
        known = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        for candidate in (shutil.which(f"python3.{minor}"), *map(str, known)):
            if candidate is None:
                continue
            # A shim of pyenv's is no interpreter, and is there for versions that it does not run as well.
            asked = [candidate, "-c", "import sys; print(sys.executable)"]
            answer = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
            if answer.returncode == 0:
                return answer.stdout.strip()
    return None


OTHER = other_python()


@pytest.mark.slow
@pytest.mark.skipif(OTHER is None, reason="there is only one Python from 3.11 to 3.13")
def test_upgrade_takes_the_python_that_is_installed_now(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OTHER
    new = tmp_path / "new"
    subprocess.run([OTHER, "-m", "venv", new], check=True, timeout=100)
    subprocess.run([new / "bin" / "pip", "install", "--quiet", str(PROJECT)], check=True, timeout=200)
    version = subprocess.check_output(
        [OTHER, "-c", "import sys; print(list(sys.version_info[:2]))"], text=True, timeout=20
    )
    # As with a deployment that keeps its environments side by side, and a link to the one in use.
    current = tmp_path / "current"
    current.symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(current / "bin" / "python"))
    service.write(APP)
    service.start("--workers", "2")
    ours = list(sys.version_info[:2])
    assert service.get() == ours
    pids = {worker["pid"] for worker in service.serving()}

    current.unlink()
    current.symlink_to(new)
    assert (answer := service.ask("upgrade"))["ok"], answer
    assert Path(os.readlink(f"/proc/{service.pid}/exe")).resolve() == Path(OTHER).resolve()
    assert {worker["pid"] for worker in service.serving()} == pids
    assert service.get() == ours

    assert (answer := service.ask("reload"))["ok"], answer
    assert str(service.get()) == version.strip()
    assert (answer := service.ask("rollback"))["ok"], answer
    assert service.get() == ours
    assert service.stop() == 0
