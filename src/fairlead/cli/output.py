"""How the command writes: colours on a terminal, plain text elsewhere, never a traceback of our own."""

from rich.console import Console
from rich.text import Text

from fairlead.errors import FairleadError


def console(*, stderr: bool = False) -> Console:
    """A console that shows texts as they are: no markup, no guessed colours, no emoji codes."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def print_error(error: FairleadError) -> None:
    """One block on stderr: `error: cannot X: cause`."""
    text = Text.assemble(("error: ", "bold red"), str(error))
    console(stderr=True).print(text, soft_wrap=True)


def print_progress(text: str) -> None:
    """A line about what is going on, on stderr: stdout is for results."""
    console(stderr=True).print(Text(text, style="dim"), soft_wrap=True)
