"""A virtual environment for each server, made by the first run that needs it and kept in `.venv-bench/`."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".venv-bench"
CONSTRAINTS = ROOT / "bench" / "requirements.txt"
APP_REQUIREMENTS = ("fastapi", "numpy", "sqlalchemy", "alembic", "python-multipart")


def prepare(name: str, requirements: tuple[str, ...], wishes: tuple[str, ...] = ()) -> Path:
    """The `bin` folder of the environment `name`, made or remade when what goes in has changed.

    `wishes` are extras that make a server faster and that a package index may not have: without one, the run goes on,
    and the report shows its version as missing.
    """
    own = "." in requirements  # built and installed as users do it
    sources = [CONSTRAINTS, *(_own_sources() if own else ())]
    parts = [sys.version, requirements, wishes, APP_REQUIREMENTS, *(source.read_text() for source in sources)]
    wanted = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    folder, stamp = CACHE / name, CACHE / name / "made-of"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {' '.join(requirements)} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = (str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet")
        _run(*pip, "--constraint", str(CONSTRAINTS), *APP_REQUIREMENTS, *requirements)
        for wish in wishes:
            try:
                _run(*pip, "--constraint", str(CONSTRAINTS), wish)
            except BenchError as error:
                print(f"going on without {wish}: {error}", file=sys.stderr)
        stamp.write_text(wanted)
    return folder / "bin"


def _own_sources() -> list[Path]:
    return [ROOT / "pyproject.toml", ROOT / "hatch_build.py", *sorted((ROOT / "src").rglob("*.py"))]


def versions(bin_folder: Path) -> dict[str, str]:
    """What is installed, by distribution."""
    command = (str(bin_folder / "python"), "-m", "pip", "--disable-pip-version-check", "list", "--format=json")
    found = {entry["name"].lower(): entry["version"] for entry in json.loads(_run(*command))}
    if "fairlead" in found:
        found["fairlead"] = (
            _run("env", "-u", "PYTHONPATH", str(bin_folder / "fairlead"), "--version").strip().removeprefix("fairlead ")
        )
    return found


def program_version(command: tuple[str, ...]) -> str:
    """What a program that is no Python package says of itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "missing"
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
    if done.returncode:
        raise BenchError(f"cannot run {' '.join(command)}: exit code {done.returncode}\n{done.stderr[-1000:]}")
    return done.stdout
