"""When to replace a process. Pure decisions: the caller brings the clock and the chance."""

from fairlead.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Durations in seconds; 0 switches `hang_timeout`, `max_requests` and `max_age` off."""

    hang_timeout: float = 30.0
    backoff_initial: float = 0.5
    backoff_max: float = 30.0
    quiet_time: float = 60.0
    max_requests: int = 0
    max_requests_jitter: int = 0
    max_age: float = 0.0
    max_age_jitter: float = 0.0
    drain_timeout: float = 30.0
    idle_grace: float = 5.0
    stream_spread: float = 5.0
    park: float = 600.0
    batch: int = 0

    def backoff(self, deaths: int, chance: float) -> float:
        """The wait before replacing after the `deaths`-th death in a row; `chance` in [0, 1) is its jitter.

        The first is replaced at once: a single crash says nothing about the next start.
        """
        if deaths <= 1:
            return 0.0
        # Doubling is bounded before it is computed: 2.0 ** 10_000 is an OverflowError.
        delay = min(self.backoff_initial * 2.0 ** min(deaths - 2, 40), self.backoff_max)
        return delay * (0.75 + 0.5 * chance)

    @property
    def drain_deadline(self) -> float:
        """From the drain order to the supervisor's kill: the worker's own deadlines, and five seconds beyond them."""
        return max(self.drain_timeout, self.idle_grace, self.stream_spread) + 5.0
