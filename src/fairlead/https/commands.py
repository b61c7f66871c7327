"""Running a command of the user's: a hook, or what sets a DNS record. Standard library only."""

import os
import signal
import subprocess
from collections.abc import Mapping

from fairlead.host.pythonpath import for_programs


def run_command(command: tuple[str, ...], variables: Mapping[str, str], timeout: float) -> tuple[int, str]:
    """The exit code, and what the command wrote. OSError when it cannot be started.

    It has a process group of its own, which is killed when `timeout` passes (subprocess.TimeoutExpired) or this call is
    broken off. What it leaves in the background after an end of its own stays.
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
        if process.stdout is not None:
            process.stdout.close()  # whoever has left the group may hold the other end for ever
        process.wait()
        raise
    return process.returncode, output.decode(errors="replace").strip()
