"""What a start may take. Pure data and decisions."""

from fairlead.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class StartupPolicy:
    """Seconds, but for `probe`: the path called before a worker takes traffic, or None."""

    import_timeout: float = 600.0
    lifespan_timeout: float = 60.0
    probe: str | None = None
    probe_timeout: float = 10.0

    @property
    def ready_timeout(self) -> float:
        """From fork to ready: the worker keeps its own deadlines, the supervisor allows five seconds beyond them."""
        return self.lifespan_timeout + (self.probe_timeout if self.probe else 0.0) + 5.0
