"""Runs the steps that are due, one after the other, under the app's locks."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from fairlead.errors import FairleadError
from fairlead.observability.events import EventLog
from fairlead.plan.model import Plan
from fairlead.steps import command, database
from fairlead.steps.fingerprint import fingerprint
from fairlead.steps.policy import LAST_LINES, Step, is_due, lock_patience, pause_before
from fairlead.steps.records import Ran, Records

Tell = Callable[[str], None]


class StepError(FairleadError):
    """A step did not succeed. `lines`: the last ones it wrote."""

    def __init__(self, step: str, cause: str, lines: str) -> None:
        super().__init__(f"step {step} failed: {cause}")
        self.lines = lines


def run_due(plan: Plan, log: EventLog, tell: Tell, only: str | None = None) -> list[str]:
    """Runs what is due, or `only` that one whether due or not; returns what ran. FairleadError at the first failure."""
    records = Records(plan)
    with records.locked(lock_patience(plan.steps), partial(_say_waiting, log, tell)):
        release = fingerprint(plan)
        wanted = [step for step in plan.steps if only in (None, step.name)]
        return [step.name for step in wanted if _run_step(plan, step, release, records, log, tell, only is not None)]


def _say_waiting(log: EventLog, tell: Tell) -> None:
    log.info("steps.waiting", cause="another process of this app runs its steps")
    tell("waiting for another process that runs the previous steps")


def _run_step(plan: Plan, step: Step, release: str, records: Records, log: EventLog, tell: Tell, forced: bool) -> bool:
    """Whether it ran: it may have run for this release before, here or on another host."""
    with _shared(plan, step) as shared:
        before = records.read().get(step.name)
        ran_for = shared.ran_for() if shared is not None else before.release if before else None
        if not forced and not is_due(step, release, ran_for):
            log.debug("step.done_before", step=step.name, release=release)
            return False
        tell(f"step {step.name}: {' '.join(step.run)}")
        begun = time.monotonic()
        _try(plan, step, log.of(f"step {step.name}"), shared)
        records.remember(step.name, Ran(release, time.time(), round(time.monotonic() - begun, 3)))
        if shared is not None:
            shared.remember(release)
    return True


@contextmanager
def _shared(plan: Plan, step: Step) -> Iterator[database.Shared | None]:
    if not step.lock:
        yield None
        return
    with database.locked(step.lock, plan.name, step.name, lock_patience(plan.steps)) as shared:
        yield shared


def _try(plan: Plan, step: Step, log: EventLog, lock: command.Lock | None) -> None:
    """Until it succeeds, has no tries left or no lock any more; StepError then."""
    variables = command.environment(plan.identity, step.env)
    problem: str | None = None
    tries = 0
    for attempt in range(step.retries + 1):
        if attempt:
            time.sleep(pause_before(attempt))
            if lock is not None and lock.is_lost():
                problem = command.LOCK_LOST
                break
        tries += 1
        lines: deque[str] = deque(maxlen=LAST_LINES)
        log.info("step.begin", run=" ".join(step.run), attempt=attempt + 1 if step.retries else None)
        begun = time.monotonic()
        problem = command.run(step.run, variables, plan.identity, step.timeout, partial(_take_line, log, lines), lock)
        if problem is None:
            log.info("step.done", after=time.monotonic() - begun)
            return
        again = attempt < step.retries and problem != command.LOCK_LOST
        log.write("warning" if again else "error", "step.failed", {"cause": problem, "after": time.monotonic() - begun})
        if not again:
            break
    after = f" (after {tries} tries)" if tries > 1 else ""
    raise StepError(step.name, f"{problem}{after}", "\n".join(lines))


def _take_line(log: EventLog, lines: "deque[str]", line: str) -> None:
    lines.append(line)
    log.info("step.output", line=line)
