"""`fairlead upgrade`: the supervisor becomes the program that is installed now."""

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of


def upgrade(name: Name = None, config: Config = None) -> None:
    """Replace the supervisor by the Fairlead that is installed now. No socket closes and no worker ends; reload moves them."""
    instance = instance_of(name, config)
    result = ask(instance, "upgrade")
    typer.echo(
        f"{instance.name}: the supervisor is Fairlead {result.get('version')} now (before: {result.get('before')}); "
        "its workers are as they were until `fairlead reload`"
    )
