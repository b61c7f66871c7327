"""`fairlead ca`: the root of the local authority, for those who are to trust it."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.asking import Config
from fairlead.errors import InputError

if TYPE_CHECKING:
    from fairlead.https.store import Store


def ca(
    install: Annotated[bool, typer.Option("--install", help="Have this system trust it (as root).")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Have this system trust it no longer (as root).")] = False,
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Say how browsers and other systems come to trust it.")
    ] = False,
    config: Config = None,
) -> None:
    """Print the local authority's root certificate (PEM), which `https.mode = "internal"` signs with; it is made when missing."""
    if install + remove + instructions > 1:
        raise InputError("cannot do it all at once: allowed: one of --install, --remove and --instructions")
    from fairlead.https import internal_ca

    store, names = _authority(config)
    root = internal_ca.root(store, names, time.time())
    if install:
        typer.echo(f"this system trusts the root from now on: it is in {internal_ca.install_root(root)}")
    elif remove:
        internal_ca.remove_root(root)
        typer.echo("this system no longer trusts the root")
    elif instructions:
        typer.echo(internal_ca.instructions(store.root / internal_ca.ROOT), nl=False)
    else:
        typer.echo(root.decode(), nl=False)


def _authority(config: str | None) -> "tuple[Store, list[str]]":
    """The store of the configuration here, and the names that the authority is to sign for."""
    from fairlead.config.load import load
    from fairlead.config.place import working_folder
    from fairlead.host.identity import account_to_become
    from fairlead.https.store import Store
    from fairlead.plan.names import state_dir
    from fairlead.plan.resolve import store_folder

    settings = load(working_folder(), os.environ, {}, config).settings
    account = account_to_become(settings.app.user, settings.app.group)
    folder = settings.https.store or store_folder(
        state_dir(os.environ, os.geteuid()), account.user if account else None
    )
    return Store.open(Path(folder), account.uid if account else None), settings.https.names
