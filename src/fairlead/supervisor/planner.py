"""Reads the configuration again in a process of its own: the supervisor has neither pydantic nor the patience."""

from collections.abc import Callable

from fairlead.errors import FairleadError
from fairlead.plan.model import Plan
from fairlead.supervisor.inquiry import Inquiry
from fairlead.supervisor.model import Event, PlanFailed, Planned


def read_again(plan: Plan, done: Callable[[Event], None]) -> Inquiry:
    """Runs the planning command. Calls `done` exactly once, with Planned or PlanFailed."""

    def answered(text: str, problem: str) -> None:
        done(_event(text, problem))

    return Inquiry([*plan.command, "--plan-to"], (), answered)


def _event(text: str, problem: str) -> Event:
    if not text:
        return PlanFailed(f"the configuration cannot be used: {problem or 'the planner said nothing'}")
    try:
        return Planned(Plan.from_json(text))
    except FairleadError as error:
        return PlanFailed(f"the configuration cannot be used: {error}")
