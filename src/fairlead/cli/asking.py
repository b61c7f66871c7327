"""What the commands to a running instance have in common: which one is meant, and its answer."""

import os
from typing import Annotated, Any

import typer

from fairlead.cli.control_client import SILENCE, ControlClient
from fairlead.cli.instances import Instance, find_instance
from fairlead.config.place import working_folder

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The instance. Default: the one of the configuration here, or the only one that runs.",
        show_default=False,
    ),
]
Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="The configuration file that names it.", show_default=False),
]


def instance_of(name: str | None, config: str | None) -> Instance:
    """The running instance that is meant."""
    return find_instance(name, config, working_folder(), os.environ, os.geteuid())


def ask(
    instance: Instance, command: str, arguments: dict[str, Any] | None = None, silence: float = SILENCE
) -> dict[str, Any]:
    """The instance's answer; progress goes to stderr meanwhile."""
    from fairlead.cli.output import print_progress

    with ControlClient(instance) as client:
        return client.ask(command, arguments, print_progress, silence)
