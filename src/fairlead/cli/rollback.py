"""`fairlead rollback`: the previous release again, from memory."""

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of
from fairlead.cli.reload import release_line


def rollback(name: Name = None, config: Config = None) -> None:
    """Go back to the previous release, which is kept in memory for a while (restarts.park). Nothing is read from disk."""
    instance = instance_of(name, config)
    typer.echo(release_line(instance.name, ask(instance, "rollback")))
