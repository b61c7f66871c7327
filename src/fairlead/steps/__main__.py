"""`python -P -m fairlead.steps DESCRIPTORS`: runs the previous steps of a release for the supervisor, then ends.

DESCRIPTORS: plan, channel, stacks, separated by commas, all inherited.
"""

import contextlib
import faulthandler
import os
import signal
import sys
from types import FrameType

from fairlead.errors import FairleadError
from fairlead.host.channel import Channel
from fairlead.host.processes import signal_when_parent_dies
from fairlead.messages import Failed, StepBegins, StepsRan
from fairlead.observability.events import DescriptorSink, EventLog, FileSink
from fairlead.plan.model import Plan
from fairlead.steps.runner import StepError, run_due


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The supervisor wants this to end, or is gone."""


def main(arguments: list[str]) -> int:
    """The exit code: 0 when all steps that were due have run."""
    signal.signal(signal.SIGTERM, _stop)
    plan_file, channel_file, stacks = map(int, arguments[0].split(","))
    for descriptor in (channel_file, stacks):
        os.set_inheritable(descriptor, False)
    with os.fdopen(plan_file) as file:
        plan = Plan.from_json(file.read())
    channel = Channel.from_descriptor(channel_file)
    faulthandler.enable(stacks)
    log = EventLog(
        plan.log.format, "steps", FileSink(plan.log.file) if plan.log.file else DescriptorSink(2), plan.log.level
    )
    try:
        signal_when_parent_dies(signal.SIGTERM)
        if channel.is_over():
            return 1  # the supervisor died before the kernel could be told to end us with it
        ran = run_due(plan, log, lambda text: _tell(channel, text))
    except StepError as error:
        channel.send(Failed("step", str(error), error.lines))
        return 1
    except FairleadError as error:
        channel.send(Failed("steps", str(error)))
        return 1
    except Stopped:
        log.warning("steps.stopped", cause="the supervisor no longer wants them")
        return 1
    channel.send(StepsRan(tuple(ran)))
    return 0


def _tell(channel: Channel, text: str) -> None:
    channel.send(StepBegins(text))


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not interrupted; the kernel's SIGKILL is left
    raise Stopped


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):  # nobody reads it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # at once: the app's import waits for this, and there is nothing to clean up
