"""Which steps run, how often, how long. Pure data and decisions."""

from collections.abc import Mapping

from fairlead.lean_dataclass import dataclass

LAST_LINES = 20
"""Lines of a failed step's output that whoever asked for the release gets to see."""
STOP_TIME = 5.0
"""Seconds between SIGTERM and SIGKILL for a step that has to go."""
_LONGEST_PAUSE = 30.0
_FOR_LOCKS = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One previous step. `when`: release or start. `lock`: the address of a database, or empty. Durations in seconds."""

    name: str
    run: tuple[str, ...]
    timeout: float = 600.0
    retries: int = 0
    env: tuple[tuple[str, str], ...] = ()
    when: str = "release"
    lock: str = ""

    @property
    def longest(self) -> float:
        """Seconds that the step may take at most, with all its tries."""
        pauses = sum(pause_before(attempt) for attempt in range(1, self.retries + 1))
        return (self.timeout + STOP_TIME) * (self.retries + 1) + pauses


def pause_before(retry: int) -> float:
    """Seconds to wait before the `retry`-th try again."""
    return min(2.0 ** (retry - 1), _LONGEST_PAUSE)


def lock_patience(steps: tuple[Step, ...]) -> float:
    """How long to wait for a lock: as long as another process may need for the same steps."""
    return sum(step.longest for step in steps) + _FOR_LOCKS


def deadline(steps: tuple[Step, ...]) -> float:
    """Seconds from the start of the process that runs the steps to its end: waiting for others, then its own."""
    return 2 * lock_patience(steps) + _FOR_LOCKS


def is_due(step: Step, release: str, ran_for: str | None) -> bool:
    """Whether the step has to run for the release with the fingerprint `release`, when it last ran for `ran_for`."""
    return step.when == "start" or ran_for != release


def pending(steps: tuple[Step, ...], release: str, ran_for: Mapping[str, str]) -> list[Step]:
    """The steps that a start would run now; `ran_for`: step name → the fingerprint it last ran for."""
    return [step for step in steps if is_due(step, release, ran_for.get(step.name))]
