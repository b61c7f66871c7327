"""The command's verbs, and how its errors look. Each verb imports what it needs when it runs."""

import errno
import os
import sys
from typing import Annotated

import typer

from fairlead.cli.ca import ca
from fairlead.cli.certs import certs
from fairlead.cli.check import check
from fairlead.cli.config import config
from fairlead.cli.export import export
from fairlead.cli.given import Given
from fairlead.cli.install import install, uninstall
from fairlead.cli.plan import plan
from fairlead.cli.reload import reload
from fairlead.cli.reopen import reopen
from fairlead.cli.rollback import rollback
from fairlead.cli.run import run
from fairlead.cli.scale import scale
from fairlead.cli.status import status
from fairlead.cli.steps import steps
from fairlead.cli.stop import stop
from fairlead.cli.upgrade import upgrade
from fairlead.errors import FairleadError

app = typer.Typer(
    name="fairlead",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fairlead import __version__
        from fairlead.worker.http1 import is_compiled

        typer.echo(f"fairlead {__version__} (HTTP {'compiled' if is_compiled() else 'not compiled'})")
        raise typer.Exit


@app.callback()
def fairlead(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Takes a FastAPI (any ASGI) app into production on a Linux server, and keeps it there."""


app.command()(run)
app.command()(config)
app.command()(check)
app.command()(plan)
app.command()(status)
app.command()(reload)
app.command()(rollback)
# "-1" is a number here, not a flag.
app.command(context_settings={"ignore_unknown_options": True})(scale)
app.add_typer(steps, name="steps")
app.command()(stop)
app.command()(reopen)
app.add_typer(certs, name="certs")
app.command()(ca)
app.command()(upgrade)
app.command()(export)
app.command()(install)
app.command()(uninstall)


def run_command(given: Given) -> None:
    """Runs one command line and exits: 0 done, 1 refused or failed, 2 bad input. Typer sees to Ctrl-C and closed pipes."""
    try:
        app(args=list(given.arguments), prog_name="fairlead", obj=given)
    except FairleadError as error:
        from fairlead.cli.output import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        from fairlead.cli.output import print_error

        print_error(FairleadError(f"cannot write: {error.strerror}"))
        # What could not be written is still in the buffer, and Python would try again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
