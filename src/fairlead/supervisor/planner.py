"""Reads the configuration again in a process of its own: the supervisor has neither pydantic nor the patience."""

from collections.abc import Callable

from fairlead.errors import FairleadError
from fairlead.plan.model import Plan
from fairlead.supervisor.events import Event, PlanFailed, Planned
from fairlead.supervisor.inquiry import Inquiry


def read_again(plan: Plan, done: Callable[[Event], None]) -> Inquiry:
    """Runs the planning command. Calls `done` exactly once, with Planned or PlanFailed."""

    def answered(text: str, problem: str) -> None:
        done(_event(text, problem))

    return Inquiry([*plan.command, "--plan-to"], (), answered)


def _event(text: str, problem: str) -> Event:
    if not text:
        # It says "error: cannot …" as to a person at a terminal; here that is the cause of something else that cannot be.
        return PlanFailed(problem.removeprefix("error: ") or "the command that reads the configuration said nothing")
    try:
        return Planned(Plan.from_json(text))
    except FairleadError as error:
        return PlanFailed(str(error))
