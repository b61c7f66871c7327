"""The worker's tests, against the lowest and the newest uvicorn that pyproject.toml declares, in throw-away environments."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
import uvicorn

_ROOT = Path(__file__).parents[2]
_TESTS = ("tests/unit/worker", "tests/process/test_worker_drain.py", "tests/process/test_worker_life.py")


def declared() -> str:
    """The range, such as `>=0.50,<0.55`."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    [found] = [line for line in project["dependencies"] if line.startswith("uvicorn")]
    return str(found.partition("]")[2])


def lowest() -> str:
    """The requirement that only the lowest version of the range meets."""
    match = re.search(r">=([\d.]+)", declared())
    assert match is not None
    return f"=={match[1]}"


def environment(folder: Path, requirement: str) -> Path:
    """The Python of an environment with this uvicorn, and everything else as here."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, f"uvicorn{requirement}"], capture_output=True, text=True, timeout=280)
    if done.returncode != 0:
        pytest.skip(f"cannot install uvicorn{requirement}: {done.stderr.strip().splitlines()[-1:]}")
    [packages] = (folder / "lib").glob("python*/site-packages")
    here = sysconfig.get_path("purelib")
    # Behind the environment's own packages on sys.path; addsitedir, for an editable install is a .pth file itself.
    (packages / "zz_here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("end", ["lowest", "newest"])
def test_the_worker_does_all_it_does_with_each_end_of_the_range(tmp_path: Path, end: str) -> None:
    requirement = lowest() if end == "lowest" else declared()
    python = environment(tmp_path / "env", requirement)
    version = subprocess.run(
        [python, "-c", "import uvicorn; print(uvicorn.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if end == "lowest":
        assert version.startswith(requirement.removeprefix("=="))
    if version == uvicorn.__version__:
        return  # then it is this very run that tests it
    tests = [str(_ROOT / path) for path in _TESTS]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(_ROOT), *tests],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, f"uvicorn {version}:\n{done.stdout[-6000:]}"
