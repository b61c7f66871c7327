"""`fairlead stop`: ends an instance, and waits for its end."""

from typing import Annotated

import typer

from fairlead.cli.asking import Config, Name, instance_of
from fairlead.cli.control_client import ControlClient, wait_gone
from fairlead.errors import FairleadError, InputError
from fairlead.units import format_duration, parse_duration


def stop(
    name: Name = None,
    config: Config = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for requests under way.")] = False,
    timeout: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="How long to wait for the end, such as 30s. Default: 5m.", show_default=False
        ),
    ] = "5m",
) -> None:
    """Stop the instance: requests under way are finished first."""
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise InputError(f"cannot use --timeout: {error}") from error
    instance = instance_of(name, config)
    with ControlClient(instance) as client:
        supervisor = client.peer()
        client.ask("stop", {"now": now})
    if supervisor >= 0 and not wait_gone(supervisor, seconds):
        hint = "" if now else "; wait longer with --timeout, or stop it with --now"
        raise FairleadError(f"cannot stop {instance.name}: it still runs after {format_duration(seconds)}{hint}")
    typer.echo(f"{instance.name}: stopped")
