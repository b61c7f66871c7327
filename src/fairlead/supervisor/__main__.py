"""`python -P -m fairlead.supervisor --plan-fd N`: what `fairlead run` turns into, or `--take-over N` after an upgrade.

`--forerunner PID --forerunner-fd N`: a process that waits to become the first template.
"""

import gc
import sys

# What these imports make stays, for months: no collection looks through it, now or later.
gc.disable()
# asyncio imports ssl when it is there. The supervisor never speaks TLS, and OpenSSL would cost it 4.5 MB.
sys.modules["ssl"] = None  # type: ignore[assignment]
# The same for hashlib, which then takes Python's own functions.
sys.modules["_hashlib"] = None  # type: ignore[assignment]

import os

from fairlead.errors import FairleadError
from fairlead.host.forerunner import Forerunner
from fairlead.plan.model import Plan
from fairlead.supervisor import succession
from fairlead.supervisor.loop import Supervisor

gc.freeze()
gc.enable()


def main(arguments: list[str]) -> int:
    """Supervises until the end; returns the exit code. The descriptor says what: a plan, or what another program left."""
    # A single word after these is the instance's name, for whoever looks at the list of processes.
    given = {flag: int(value) for flag, value in zip(arguments[::2], arguments[1::2], strict=False)}
    try:
        if "--could-take-over" in given:
            succession.say_fit(given["--could-take-over"], given["--answer-to"])
            return 0
        if "--take-over" in given:
            estate = succession.take_over(given["--take-over"])
            return Supervisor(estate.plan, estate).run()
        with os.fdopen(given["--plan-fd"]) as file:
            plan = Plan.from_json(file.read())
        ahead = Forerunner(given["--forerunner"], given["--forerunner-fd"]) if "--forerunner" in given else None
        return Supervisor(plan, forerunner=ahead).run()
    except FairleadError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
