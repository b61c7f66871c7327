"""The suite's own rule about skipped tests (tests/conftest.py), on a suite of two tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_two.py").write_text(
        "import pytest\ndef test_one(): pass\n@pytest.mark.skip(reason='no crane here')\ndef test_two(): pass\n"
    )
    return tmp_path


def run(suite: Path, ci: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", *arguments],
        cwd=suite,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_skips_are_told_with_their_reason_and_pass_on_a_laptop(suite: Path) -> None:
    result = run(suite, "")
    assert result.returncode == 0, result.stdout
    assert "1 × Skipped: no crane here" in result.stdout
    assert "1 passed, 1 skipped" in result.stdout.splitlines()[-1]


def test_skip_fails_a_run_in_ci(suite: Path) -> None:
    result = run(suite, "true")
    assert result.returncode == 1, result.stdout
    assert "1 skipped, which fails a run with CI=true" in result.stdout


def test_run_without_skips_passes_in_ci(suite: Path) -> None:
    assert run(suite, "true", "-k", "test_one").returncode == 0
