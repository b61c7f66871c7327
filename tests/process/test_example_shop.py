"""The tour of the example shop, as scripts/demo --tour gives it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.slow
def test_tour_of_the_shop_goes_through() -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "SHOP_"))}
    tour = subprocess.run(
        [PROJECT / "scripts" / "tour"],
        env={**environment, "PATH": programs},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert tour.stdout.rstrip().endswith("# That was the tour.")
