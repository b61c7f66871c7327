"""Running a command of the user's: a hook, or what sets a DNS record. Standard library only."""

import os
import signal
import subprocess
from collections.abc import Mapping

from fairlead.host.pythonpath import for_programs


def run_command(command: tuple[str, ...], variables: Mapping[str, str], timeout: float) -> tuple[int, str]:
    """The exit code, and what the command wrote. OSError when it cannot be started.

    It has a process group of its own, which does not outlive `timeout` (subprocess.TimeoutExpired), nor this call.
    """
    process = subprocess.Popen(
        command,
        env={**for_programs(os.environ), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output.decode(errors="replace").strip()
