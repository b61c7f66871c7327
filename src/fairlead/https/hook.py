"""Runs the hook command of a certificate event: `python -P -m fairlead.https.hook`, the order (JSON) on standard input.

The command runs as the app's user, in a process group of its own that does not outlive the timeout. Its output, and how it
failed, go to standard error, where the supervisor reads them.
"""

import signal
import subprocess
import sys

from fairlead.host.processes import signal_when_parent_dies
from fairlead.https.become import become
from fairlead.https.commands import run_command
from fairlead.https.model import HookOrder, from_json

_LONGEST_OUTPUT = 4000


def main() -> int:
    """Exit code 0 when the command ended with 0."""
    order = from_json(HookOrder, sys.stdin.read())
    become(order.identity)
    signal_when_parent_dies(signal.SIGKILL)
    variables = {
        "FAIRLEAD_EVENT": order.event,
        "FAIRLEAD_NAMES": ",".join(order.names),
        "FAIRLEAD_TEXT": order.text,
    }
    try:
        code, output = run_command(order.command, variables, order.timeout)
    except OSError as error:
        return _fail(f"cannot run https.hook {order.command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return _fail(f"https.hook {order.command[0]} took longer than {order.timeout:g} s and was killed")
    if code == 0:
        return 0
    return _fail(f"https.hook {order.command[0]} ended with code {code}: {output[-_LONGEST_OUTPUT:] or 'no output'}")


def _fail(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
