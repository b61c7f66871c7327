"""The Dockerfile and the Compose file that `fairlead export` writes, built and run by a real Docker engine."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_fixture import COMPOSE, ROOT, Engine, make_base_image, needs_engine, running_engine
from system_python import VERSION

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1800), needs_engine]

APP = """
import os
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
def root():
    return {"pid": os.getpid(), "uid": os.getuid()}
"""

PROJECT = """
[project]
name = "small"
version = "1"
requires-python = ">=3.11"
dependencies = ["fastapi"]

[tool.uv]
environments = ["sys_platform == 'linux'"]
"""
# Swarm's routing mesh is the kernel's IPVS, which not every kernel has.
HAS_MESH = Path("/proc/sys/net/ipv4/vs").exists()
# The same port, published by the node itself.
WITHOUT_MESH = """
version: "3.8"
services:
  small:
    ports:
      - {target: 8000, published: 8003, mode: host}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        requirements = ["-r", str(ROOT / "examples/shop/requirements.txt"), "setuptools", "pip", "uv"]
        make_base_image(engine, tmp_path_factory.mktemp("base"), requirements)
        yield engine


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app with its exported files."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text(APP)
    (folder / "requirements.txt").write_text("fastapi\n")
    (folder / "fairlead.toml").write_text('[app]\nname = "small"\n')
    export(folder)
    return folder


def export(folder: Path) -> None:
    command = [sys.executable, "-m", "fairlead.cli.main", "export", "compose"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def test_container_serves_with_a_read_only_root_and_ends_as_it_is_told(engine: Engine, app: Path) -> None:
    engine.run("build", "--tag", "small", ".", cwd=app)
    limits = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    limits += ["--cpus", "1", "--memory", "500m"]
    container = engine.run("run", "--detach", *limits, "--env", "PORT=8080", "--publish", "8000:8080", "small")
    engine.wait_until(lambda: engine.get(8000), f"an answer; {engine.logs(container)}")
    answer = json.loads(engine.get(8000))
    assert answer["uid"] == 10001
    assert "workers is auto: 1, for 1 usable CPUs" in engine.logs(container)
    status = json.loads(engine.run("exec", container, "fairlead", "status", "--json"))
    assert (status["name"], status["pid"], len(status["workers"])) == ("small", 1, 1)
    health = "{{.State.Health.Status}}"
    engine.wait_until(lambda: engine.run("inspect", "-f", health, container) == "healthy", "a healthy container")
    assert engine.try_run("exec", container, "sh", "-c", "command -v gcc cc").returncode != 0

    begun = time.monotonic()
    engine.run("stop", "--time", "45", container)
    assert time.monotonic() - begun < 20
    assert engine.run("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    assert "supervisor.stopped code=0" in engine.logs(container)


def test_port_that_the_file_names_is_asked_for_health_whatever_the_platform_says(engine: Engine, app: Path) -> None:
    (app / "fairlead.toml").write_text('[app]\nname = "small"\n[http]\nport = 9000\n[startup]\nprobe = "/"\n')
    export(app)
    engine.run("build", "--tag", "fixed", ".", cwd=app)
    container = engine.run("run", "--detach", "--env", "PORT=8080", "--publish", "9000:9000", "fixed")
    health = "{{.State.Health.Status}}"
    engine.wait_until(lambda: engine.run("inspect", "-f", health, container) == "healthy", "a healthy container")
    assert json.loads(engine.get(9000))["pid"] > 1
    engine.run("kill", container)


def test_image_has_what_uv_has_locked(engine: Engine, app: Path) -> None:
    """uv finds its packages in the image's folder of wheels; all else is as exported."""
    (app / "requirements.txt").unlink()
    (app / "pyproject.toml").write_text(PROJECT)
    lock = "python3 -m venv /uv && /uv/bin/pip install --quiet uv && /uv/bin/uv lock --no-index --find-links /wheels"
    mount = ["--volume", f"{app}:/app", "--workdir", "/app"]
    engine.run("run", "--rm", *mount, f"python:{VERSION}-slim", "sh", "-c", lock)
    export(app)
    text = (app / "Dockerfile").read_text()
    offline = "ENV UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=/wheels\n"
    (app / "Dockerfile").write_text(text.replace("RUN /uv/bin/uv sync", f"{offline}RUN /uv/bin/uv sync"))
    built = engine.run("build", "--tag", "locked", ".", cwd=app)
    assert "uv sync --frozen" in built
    container = engine.run("run", "--detach", "--read-only", "--tmpfs", "/tmp", "--publish", "8002:8000", "locked")
    engine.wait_until(lambda: engine.get(8002), f"an answer; {engine.logs(container)}")
    assert engine.try_run("exec", container, "sh", "-c", "ls /uv").returncode != 0, "uv stays in the stage that builds"
    engine.run("kill", container)


def test_change_of_code_leaves_the_dependencies_built(engine: Engine, app: Path) -> None:
    engine.run("build", "--tag", "small", ".", cwd=app)
    (app / "main.py").write_text(APP + "\n# another line\n")
    again = engine.run("build", "--tag", "small", ".", cwd=app)
    installed = again.index("pip install")
    assert "Using cache" in again[installed : again.index("COPY --from=build")]
    assert "Using cache" not in again[again.index("COPY . .") : again.index("ENV PATH")]


def test_image_is_hardly_larger_than_with_uvicorn_alone(engine: Engine, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(ROOT / "examples/shop", shop, ignore=shutil.ignore_patterns("*.db", "__pycache__"))
    export(shop)
    engine.run("build", "--tag", "shop", ".", cwd=shop)
    text = (shop / "Dockerfile").read_text()
    install = next(line for line in text.splitlines() if "import fairlead" in line)
    (shop / "plain").write_text(text.replace(install, 'RUN /venv/bin/pip install "uvicorn[standard]"'))
    engine.run("build", "--tag", "plain", "--file", "plain", ".", cwd=shop)
    ours, theirs = (int(engine.run("inspect", "-f", "{{.Size}}", name)) for name in ("shop", "plain"))
    assert ours / theirs <= 1.25


def test_compose_file_is_valid_and_runs(engine: Engine, app: Path) -> None:
    checked = engine.try_run("config", "--quiet", program=COMPOSE, cwd=app)
    assert (checked.returncode, checked.stderr) == (0, "")
    engine.run("up", "--build", "--detach", program=COMPOSE, cwd=app)
    try:
        engine.wait_until(lambda: engine.get(8000), "an answer")
        container = engine.run("ps", "--quiet", program=COMPOSE, cwd=app)
        assert engine.run("inspect", "-f", "{{.HostConfig.ReadonlyRootfs}}", container) == "true"
        engine.run("exec", container, "sh", "-c", "touch /var/lib/small/state")
        assert engine.try_run("exec", container, "touch", "/app/state").returncode != 0
    finally:
        engine.run("down", "--volumes", program=COMPOSE, cwd=app)


def test_swarm_takes_the_same_file_and_keeps_a_replica_running(engine: Engine, app: Path) -> None:
    engine.run("build", "--tag", "small", ".", cwd=app)
    engine.run("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        deploy = ["stack", "deploy", "--compose-file", "compose.yaml"]
        engine.run(*deploy, "stack", cwd=app)
        replicas = ["service", "ls", "--format", "{{.Replicas}}"]
        engine.wait_until(lambda: engine.run(*replicas) == "1/1", "a replica that is healthy")
        update = json.loads(engine.run("service", "inspect", "stack_small"))[0]["Spec"]["UpdateConfig"]
        assert (update["Order"], update["FailureAction"]) == ("start-first", "rollback")
        if HAS_MESH:
            engine.wait_until(lambda: engine.get(8000), "an answer through the routing mesh")
        else:
            (app / "host.yaml").write_text(WITHOUT_MESH)
            engine.run(*deploy, "--compose-file", "host.yaml", "stack", cwd=app)
            engine.wait_until(lambda: engine.get(8003), "an answer from the node itself")
    finally:
        engine.try_run("stack", "rm", "stack")
        engine.run("swarm", "leave", "--force")
