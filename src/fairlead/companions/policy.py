"""What companions there are and when one is started again. Pure data and decisions."""

import re

from fairlead.lean_dataclass import dataclass

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Companion:
    """`run`: a command, or one word `module:attribute` that names a function. Durations in seconds."""

    name: str
    run: tuple[str, ...]
    replicas: int = 1
    env: tuple[tuple[str, str], ...] = ()
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    restart: str = "always"
    overlap: bool = True
    settle_time: float = 1.0

    @property
    def is_callable(self) -> bool:
        """Whether it is a function of the app, to be called in a process of its own."""
        return len(self.run) == 1 and _CALLABLE.fullmatch(self.run[0]) is not None

    def starts_again(self, clean: bool) -> bool:
        """Whether one that ended unasked is started again; `clean`: with exit code 0."""
        return self.restart == "always" or (self.restart == "on-failure" and not clean)
