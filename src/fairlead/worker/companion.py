"""`python -P -m fairlead.worker.companion DESCRIPTORS NAME`: becomes a companion that is a program, or loads and calls a function.

DESCRIPTORS: plan, channel, stacks, separated by commas, all inherited. A companion that is a function is forked from
the template instead, where forking is safe, and calls `call` there.
"""

import asyncio
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from fairlead.companions.policy import Companion
from fairlead.host.channel import Channel
from fairlead.messages import CompanionBegins, Failed
from fairlead.plan.model import Plan
from fairlead.steps.command import environment
from fairlead.worker import process
from fairlead.worker.loading import LoadError, load_app
from fairlead.worker.traces import one_line, user_traceback

FAILED = 1


def main(arguments: list[str]) -> int:
    """The exit code; does not return when it becomes another program."""
    plan_file, channel_file, stacks = map(int, arguments[0].split(","))
    for descriptor in (channel_file, stacks):
        os.set_inheritable(descriptor, False)
    with os.fdopen(plan_file) as file:
        plan = Plan.from_json(file.read())
    channel = Channel.from_descriptor(channel_file)
    companion = named(plan, arguments[1])
    supervisor = os.getppid()
    try:
        process.drop_privileges(plan.identity)
        process.settle_in(plan, f"companion {companion.name}", stacks, supervisor, signal.SIGTERM)
        if channel.is_over():
            return FAILED  # the supervisor died before the kernel could be told to end us with it
        if not companion.is_callable:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(companion.run[0], companion.run, environment(plan.identity, companion.env))  # noqa: S606
    except OSError as error:
        channel.send(Failed("start", f"cannot run {companion.run[0]}: {error.strerror}"))
        return FAILED
    try:
        load_app(plan.app)
    except LoadError as error:
        channel.send(Failed("import", error.cause, error.traceback))
        return FAILED
    return call(plan, companion.name, channel)


def named(plan: Plan, name: str) -> Companion:
    """The companion of that name."""
    return next(companion for companion in plan.companions if companion.name == name)


def call(plan: Plan, name: str, channel: Channel) -> int:
    """Calls the companion's function, in an event loop when it is async. The exit code: what it returns, when that is a number."""
    companion = named(plan, name)
    os.environ.update(dict(companion.env))
    try:
        function = _find(companion)
        channel.send(CompanionBegins())
        result = function()
        if inspect.isawaitable(result):
            result = asyncio.run(_finish(result))
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # noqa: BLE001 - whatever the app raises is the answer to why it ended
        channel.send(Failed("run", one_line(error), user_traceback(error)))
        return FAILED
    return result if isinstance(result, int) else 0


def _find(companion: Companion) -> Callable[[], Any]:
    module, _, attribute = companion.run[0].partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{companion.run[0]} is {type(found).__name__!r}, not a function")
    return found  # type: ignore[no-any-return]


async def _finish(awaitable: Any) -> Any:
    return await awaitable


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
