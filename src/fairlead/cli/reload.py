"""`fairlead reload`: new configuration and code, without a lost request."""

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of
from fairlead.units import format_duration


def reload(name: Name = None, config: Config = None) -> None:
    """Read configuration and code again. If anything fails the old release goes on serving, and this exits with 1."""
    instance = instance_of(name, config)
    typer.echo(release_line(instance.name, ask(instance, "reload")))


def release_line(name: str, result: dict[str, object]) -> str:
    """`shop: release 8 serves with 4 workers, after 1.2 s`."""
    line = f"{name}: release {result.get('release')} serves with {result.get('workers')} workers"
    seconds = result.get("seconds")
    return f"{line}, after {format_duration(seconds)}" if isinstance(seconds, int | float) else line
