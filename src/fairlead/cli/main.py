"""`fairlead`: where every command begins. `run` sets off before the verbs, Typer and pydantic are imported."""

from fairlead.host import pythonpath

pythonpath.set_aside()  # before everything else is imported

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.host.forerunner import Forerunner


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits, or becomes the supervisor."""
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    forerunner = _set_off(given) if given[:1] == ("run",) else None
    try:
        from fairlead.cli.commands import run_command
        from fairlead.cli.given import Given

        run_command(Given(given, forerunner))
    finally:
        if forerunner is not None:
            forerunner.dismiss()


def _set_off(given: tuple[str, ...]) -> "Forerunner | None":
    """Starts what a service needs in any case. When the plan of the last start still holds, this is the supervisor."""
    if any(word in ("-h", "--help") or word.startswith("--plan-to") for word in given):
        return None
    from fairlead.cli.become import be_supervisor, open_standard_streams
    from fairlead.host.forerunner import Forerunner

    open_standard_streams()
    forerunner = Forerunner.start()
    from fairlead.cli.kept import recall

    if plan := recall(given):
        sys.exit(be_supervisor(plan, forerunner))
    return forerunner


if __name__ == "__main__":
    main()
