"""`fairlead certs`: the certificates of an instance, and having them renewed or revoked."""

import json
from typing import Annotated, Any

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of

_PATIENCE = 600.0
"""Seconds without a word from the supervisor: an authority may take minutes."""

certs = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="List certificates; renew or revoke them.")
Certificate = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="One of its names. Default: all certificates.", show_default=False),
]


@certs.callback()
def list_certificates(
    context: typer.Context,
    name: Name = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the certificates: names, issuer, expiry, source, next renewal, last error."""
    if context.invoked_subcommand is not None:
        return
    found: list[dict[str, Any]] = ask(instance_of(name, config), "status")["certificates"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif found:
        from fairlead.cli.certificates_view import render_certificates
        from fairlead.cli.output import console

        console().print(render_certificates(found))
    else:
        typer.echo("no certificates: HTTPS is off, or nothing serves yet")


@certs.command()
def renew(
    certificate: Certificate = None,
    force: Annotated[bool, typer.Option("--force", help="Also what is not due yet.")] = False,
    name: Name = None,
    config: Config = None,
) -> None:
    """Renew what is due now, without a wait after failures. Ends with 1 when that fails; the old one goes on serving."""
    _change("certs renew", {"certificate": certificate, "force": force}, name, config)


@certs.command()
def revoke(
    certificate: Annotated[str, typer.Argument(metavar="NAME", help="One of its names.")],
    name: Name = None,
    config: Config = None,
) -> None:
    """Have the authority revoke a certificate, because its key is no longer secret. A new one is obtained at once."""
    _change("certs revoke", {"certificate": certificate}, name, config)


def _change(command: str, arguments: dict[str, Any], name: str | None, config: str | None) -> None:
    from fairlead.cli.certificates_view import end_line

    for end in ask(instance_of(name, config), command, arguments, _PATIENCE)["certificates"]:
        typer.echo(end_line(end))
