"""`fairlead config`: what the configuration comes to, and where each value comes from."""

import functools
import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from fairlead.config.files import Key
    from fairlead.config.load import Loaded


def config(
    file: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the configuration file.")] = False,
) -> None:
    """Show the resolved configuration, with the origin of each value."""
    from fairlead.cli.output import console
    from fairlead.config.load import load
    from fairlead.config.place import working_folder

    if schema:
        typer.echo(json.dumps(json_schema(), indent=2))
        return
    loaded = load(working_folder(), os.environ, {}, file)
    if as_json:
        typer.echo(json.dumps(as_data(loaded), indent=2))
        return
    console().print(as_table(loaded))
    for note in loaded.notes:
        console(stderr=True).print(f"note: {note}", soft_wrap=True)


def json_schema() -> dict[str, object]:
    """The JSON Schema of fairlead.toml, for editors."""
    from fairlead.config.settings import Settings

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def as_data(loaded: "Loaded") -> dict[str, Any]:
    """Table → key → value and origin. Durations are seconds, sizes are bytes."""
    from fairlead.config.layers import nested

    values = loaded.settings.model_dump(mode="json")
    return nested({key: {"value": _at(values, key), "origin": origin} for key, origin in loaded.origins.items()})


def _at(values: dict[str, Any], key: "Key") -> Any:
    return functools.reduce(lambda table, part: table[part], key, values)


def as_table(loaded: "Loaded") -> "Table":
    """One line a setting, as it is written in TOML; what was set stands out."""
    from rich.table import Table
    from rich.text import Text

    from fairlead.config.leaves import all_leaves

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    values = loaded.settings.model_dump(mode="json")
    previous = None
    for key, leaf in all_leaves().items():
        if previous not in (None, key[0]):
            table.add_row()
        previous = key[0]
        style = "dim" if loaded.origins[key] == "default" else ""
        value = leaf.written(_at(values, key))
        table.add_row(leaf.dotted, Text(value), Text(loaded.origins[key]), style=style)
    return table
