"""What a command line was given, and what was begun for it before it was read."""

from typing import NamedTuple

from fairlead.host.forerunner import Forerunner


class Given(NamedTuple):
    """The words behind `fairlead`; `forerunner`: the process that waits to become the first template, if one does."""

    arguments: tuple[str, ...]
    forerunner: Forerunner | None = None
