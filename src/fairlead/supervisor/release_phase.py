"""The release phase: a short-lived process runs the previous steps of the release that comes, before it is loaded."""

from fairlead.messages import Failed, Message, StepBegins, StepsRan
from fairlead.plan.model import Plan
from fairlead.steps import policy
from fairlead.supervisor.actions import Kill, Signal, SpawnSteps
from fairlead.supervisor.model import Operation, StepsRun
from fairlead.supervisor.turn import Turn

_GRACE = policy.STOP_TIME + 5.0
"""Seconds that the process may take to end the step under way."""


def begin(turn: Turn, operation: Operation, plan: Plan) -> None:
    """Starts the process; the release goes on when it has ended well."""
    run = StepsRun(turn.state.take_id(), plan, turn.now + policy.deadline(plan.steps))
    turn.state.step_runs[run.id] = run
    operation.steps = run.id
    turn.act(SpawnSteps(run.id, plan))


def cancel(turn: Turn, operation: Operation) -> None:
    """Nobody waits for the steps any more: the one under way is stopped."""
    run = turn.state.step_runs.get(operation.steps or 0)
    if run is not None:
        stop(turn, run)


def stop(turn: Turn, run: StepsRun) -> None:
    """Asks the process to end its step and itself; later it is made to."""
    if run.stopping:
        return
    run.stopping, run.deadline = True, turn.now + _GRACE
    if run.pid is not None:
        turn.act(Signal(run.pid, "TERM"))


def said(run: StepsRun, message: Message) -> None:
    """How it goes, and how it went."""
    match message:
        case StepBegins(text):
            run.at = text
        case StepsRan():
            run.done = True
        case Failed(_stage, cause, lines):
            run.failure, run.last_lines = cause, lines


def tick(turn: Turn) -> None:
    """The process has a deadline beyond those of its steps."""
    for run in turn.state.step_runs.values():
        if turn.now < run.deadline:
            continue
        if not run.stopping:
            run.failure = "the steps took longer than all their timeouts together"
            stop(turn, run)
        elif run.pid is not None:
            run.deadline = turn.now + _GRACE
            turn.act(Kill(run.pid))
