"""Debian's Docker engine in a network of its own, with a base image made here: no registry of images is needed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from system_python import VERSION, debians_python_will_do

ROOT = Path(__file__).parents[2]
DOCKER, COMPOSE = "/usr/bin/docker", "/usr/bin/docker-compose"


def _why_not() -> str | None:
    """Why no engine can be started here; None when one can."""
    if os.geteuid() != 0:
        return "only root can start a Docker engine"
    missing = [name for name in ("dockerd", "mmdebstrap", COMPOSE) if shutil.which(name) is None]
    return (
        f"not installed (Debian packages docker.io, mmdebstrap, docker-compose): {', '.join(missing)}"
        if missing
        else None
    )


needs_engine = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))


class Engine:
    """`folder`: where all that the engine keeps is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/socket"

    def start(self) -> "Engine":
        # Mounts of its own too: those that it leaves behind (Swarm's networks) end with it.
        apart = ["unshare", "--net", "--mount", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        data = [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"]
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(
            [*apart, "dockerd", *data, "-H", self.host],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.wait_until(lambda: self.try_run("info").returncode == 0, "an engine that answers")
        return self

    def stop(self) -> None:
        if self.process.poll() is None:
            self.run("ps", "--quiet")
            for container in self.run("ps", "--quiet").split():
                self.try_run("kill", container)
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self.log.close()

    def try_run(
        self, *arguments: str, program: str = DOCKER, cwd: Path | None = None, timeout: float = 800
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            [program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
        )

    def run(self, *arguments: str, **options: object) -> str:
        """The command's stdout; it must succeed."""
        done = self.try_run(*arguments, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{done.stdout[-3000:]}"
        return done.stdout.strip()

    def get(self, port: int, path: str = "/") -> str:
        """The body that a client beside the containers gets; empty when nobody answers."""
        script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
        command = ["nsenter", "-t", str(self.process.pid), "--net", "--", sys.executable, "-c", script]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def logs(self, container: str) -> str:
        done = self.try_run("logs", container)
        return done.stdout + done.stderr

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str, timeout: float = 120) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not within {timeout} s: {what}"
            time.sleep(0.1)


def own_python(context: Path) -> str:
    """The lines of a Dockerfile that put the Python of the tests in, when Debian's is another one; the image has its libraries."""
    if debians_python_will_do():
        return ""
    unneeded = shutil.ignore_patterns("test", "tests", "idlelib", "site-packages", "__pycache__", "*.a")
    shutil.copytree(sys.base_prefix, context / "python", symlinks=True, ignore=unneeded)
    return (
        # In /usr/local, where it finds itself through any link, and the linker its library.
        "COPY python /usr/local\n"
        f"RUN ldconfig && cd /usr/local/bin && ln -sf python{VERSION} python && ln -sf python{VERSION} python3\n"
    )


def make_base_image(engine: Engine, folder: Path, requirements: list[str]) -> None:
    """python:X.Y-slim, as far as the generated files need it, with the wheels of this source in it."""
    bootstrap = ["mmdebstrap", "--variant=minbase", "--include=python3-venv", "bookworm", str(folder / "base.tar")]
    link = "--customize-hook=ln -s python3 $1/usr/bin/python"
    subprocess.run([*bootstrap[:3], link, *bootstrap[3:]], check=True, capture_output=True, timeout=800)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder / "context/wheels")]
    subprocess.run([*wheel, str(ROOT), *requirements], check=True, capture_output=True, timeout=800)
    engine.run("import", "--change", "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels", str(folder / "base.tar"), "bare")
    (folder / "context/Dockerfile").write_text(f"FROM bare\n{own_python(folder / 'context')}COPY wheels /wheels\n")
    engine.run("build", "--tag", f"python:{VERSION}-slim", str(folder / "context"))


@contextlib.contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    engine = Engine(folder).start()
    try:
        yield engine
    finally:
        engine.stop()
