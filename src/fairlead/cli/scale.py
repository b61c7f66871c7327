"""`fairlead scale`: more or fewer workers."""

import re
from typing import Annotated

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of
from fairlead.errors import InputError


def scale(
    workers: Annotated[str, typer.Argument(metavar="NUMBER", help="A number (6), or a change (+1, -1).")],
    name: Name = None,
    config: Config = None,
) -> None:
    """Change the number of workers until the next start, or until the configuration says another."""
    if not re.fullmatch(r"[+-]?\d{1,4}", workers):
        raise InputError(f"cannot scale to {workers!r}: allowed: a number such as 6, or a change such as +1 or -1")
    instance = instance_of(name, config)
    answer = ask(instance, "scale", {"workers": workers})
    typer.echo(f"{instance.name}: {answer.get('workers')} workers")
    if note := answer.get("note"):
        typer.echo(f"warning: {note}", err=True)
