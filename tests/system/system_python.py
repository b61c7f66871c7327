"""Which Python the machines and images of the tests have."""

import subprocess
import sys
from pathlib import Path

SYSTEM_PYTHON = Path("/usr/bin/python3")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def debians_python_will_do() -> bool:
    """Whether the system's Python is of the version that runs the tests, whose packages they have."""
    ask = [SYSTEM_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return (
        SYSTEM_PYTHON.exists()
        and subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() == VERSION
    )
