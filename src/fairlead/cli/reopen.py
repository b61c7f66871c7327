"""`fairlead reopen`: log files by their paths again, after they were rotated."""

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of


def reopen(name: Name = None, config: Config = None) -> None:
    """Open the log files again, for log rotation (what the signal USR1 does)."""
    instance = instance_of(name, config)
    ask(instance, "reopen")
    typer.echo(f"{instance.name}: log files opened again")
