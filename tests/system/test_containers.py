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

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1800), needs_engine]

APP = """
import os
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
def root():
    return {"pid": os.getpid(), "uid": os.getuid()}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        requirements = ["-r", str(ROOT / "examples/shop/requirements.txt"), "setuptools", "pip"]
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
        engine.run("stack", "deploy", "--compose-file", "compose.yaml", "stack", cwd=app)
        replicas = ["service", "ls", "--format", "{{.Replicas}}"]
        engine.wait_until(lambda: engine.run(*replicas) == "1/1", "a replica that is healthy")
        update = json.loads(engine.run("service", "inspect", "stack_small"))[0]["Spec"]["UpdateConfig"]
        assert (update["Order"], update["FailureAction"]) == ("start-first", "rollback")
    finally:
        engine.try_run("stack", "rm", "stack")
        engine.run("swarm", "leave", "--force")
