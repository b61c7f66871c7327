"""The last thing that `fairlead run` does as a command: it becomes the supervisor."""

import os
import sys
from typing import NoReturn

from fairlead.host import pythonpath
from fairlead.host.forerunner import Forerunner


def become_supervisor(plan: str, name: str, forerunner: Forerunner | None) -> NoReturn:
    """Replaces this process, which has pydantic and Typer in it, by the small one that stays.

    `plan` is its JSON, `name` the instance's, for whoever looks at the list of processes.
    """
    open_standard_streams()
    if forerunner is not None:
        os.set_inheritable(forerunner.descriptor, True)
    program = [sys.executable, "-P", "-m", "fairlead.supervisor", *_arguments(plan, forerunner), name]
    os.execve(sys.executable, program, os.environ)  # noqa: S606 - the plan names no program


def be_supervisor(plan: str, forerunner: Forerunner | None) -> int:
    """The same in this process, which has imported next to nothing so far; returns the exit code."""
    pythonpath.leave_own_folder()
    from fairlead.supervisor.__main__ import main

    return main(_arguments(plan, forerunner))


def _arguments(plan: str, forerunner: Forerunner | None) -> list[str]:
    arguments = ["--plan-fd", str(plan_file(plan))]
    if forerunner is not None:
        arguments += ["--forerunner", str(forerunner.pid), "--forerunner-fd", str(forerunner.descriptor)]
    return arguments


def plan_file(plan: str) -> int:
    """An inheritable descriptor of an anonymous file that holds the plan, to be read from the start."""
    descriptor = os.memfd_create("fairlead-plan", 0)
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(plan)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def open_standard_streams() -> None:
    """Flushes them; one that was closed becomes /dev/null, or the next socket would take its number and its output."""
    for descriptor, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if descriptor and stream is not None:
            stream.flush()
