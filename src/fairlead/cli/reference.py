"""The reference pages, from the code: `python -m fairlead.cli.reference [docs/reference]`."""

import sys
from pathlib import Path
from typing import Any

import typer.main

from fairlead.cli.commands import app
from fairlead.config.layers import PLATFORM_VARIABLES, RESERVED_VARIABLES
from fairlead.config.leaves import Leaf, all_leaves, tables
from fairlead.supervisor.model import TRANSITIONS, WorkerState

_CONFIGURATION = """\
# Configuration

<!-- Made by `python -m fairlead.cli.reference`. Change the settings modules instead. -->

Fairlead reads `fairlead.toml` in the working folder, or the table `[tool.fairlead]` of `pyproject.toml`; `--config FILE`
or `FAIRLEAD_CONFIG` names another file. A variable `FAIRLEAD_<TABLE>_<KEY>` comes before the file, a flag of
`fairlead run` before both. Lists of texts are written with commas in a variable (`a,b`); lists and tables can also be
written as JSON or TOML. An empty variable means "not set" where that is possible.

Relative paths count from the file's folder; in a variable or a flag, from the working folder. `http.bind` and
`http.host` or `http.port` exclude each other in one source; of two sources the stronger decides, and the start says so.
Every mistake is told at once, with its place, its value and what is allowed; an unknown key or variable is a mistake.

`fairlead config` shows every value with its origin. `fairlead config --schema` prints the JSON Schema, for editors.

"""
_CLI = """\
# Command line

<!-- Made by `python -m fairlead.cli.reference`. Change the commands instead. -->

Every command ends with 0 when it is done, 1 when it was refused or failed, 2 when the input is wrong; `fairlead run`
with 3 when the app never became ready. Results go to stdout; progress and errors (`error: cannot …`) to stderr.

"""

_STATES = """\
# States of a worker

<!-- Made by `python -m fairlead.cli.reference` from supervisor/model.py. -->

`fairlead status` shows these words. A worker leaves every state by ending, too: in `draining` that is what was wanted;
a death in any other is answered by a replacement. A pair that is not drawn is a mistake of the program and raises.

"""


def configuration_page() -> str:
    """docs/reference/configuration.md."""
    parts = [_CONFIGURATION]
    for name, about in tables().items():
        rows = [row for leaf in all_leaves().values() if leaf.key[0] == name for row in _setting_rows(leaf)]
        heading = f"[[{name}]]" if (name,) in all_leaves() else f"[{name}]"
        parts.append(f"## `{heading}`\n\n{about}\n\n| key | default | allowed | what it is |\n|---|---|---|---|\n")
        parts += rows
        parts.append("\n")
    parts.append("## Variables without a key\n\n| variable | what it is |\n|---|---|\n")
    parts += [f"| `{variable}` | {text} |\n" for variable, text in (RESERVED_VARIABLES | PLATFORM_VARIABLES).items()]
    return "".join(parts)


def cli_page() -> str:
    """docs/reference/cli.md."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("fairlead", [], resilient_parsing=True)
    parts = [_CLI, f"{command.help}\n\n", _options_table(command.params)]
    for name in command.list_commands(context):
        parts += _command_section(f"fairlead {name}", command.get_command(context, name), context)
    return "".join(parts).rstrip() + "\n"


def _command_section(name: str, command: Any, context: Any) -> list[str]:
    """A command with its options; a group with those of its commands."""
    parts = [f"## `{name}`\n\n{command.help}\n\n", _options_table(command.params)]
    for inner in getattr(command, "commands", {}):
        parts += _command_section(f"{name} {inner}", command.get_command(context, inner), context)
    return parts


def _setting_rows(leaf: Leaf) -> list[str]:
    """A row for the setting; for a list of tables, one for each of their keys."""
    inner = leaf.schema.get("items", {}).get("properties") if len(leaf.key) == 1 else None
    if inner is None:
        return [_setting_row(leaf)]
    keys = [
        Leaf((*leaf.key, key), part, part.get("default"), part.get("description", "")) for key, part in inner.items()
    ]
    return [_setting_row(key) for key in keys]


def states_page() -> str:
    """docs/reference/worker-states.md: the supervisor's own table of transitions, drawn."""
    arrows = "".join(
        f"    {state} --> {then}: {what}\n" for (state, what), then in TRANSITIONS.items() if state != then
    )
    return f"{_STATES}```mermaid\nstateDiagram-v2\n    [*] --> {WorkerState.FORKING}\n{arrows}```\n"


def _setting_row(leaf: Leaf) -> str:
    default = "" if leaf.default is None else f"`{leaf.written(leaf.default)}`"
    return f"| `{leaf.key[-1]}` | {default} | {_cell(leaf.allowed)} | {_cell(leaf.description)} |\n"


def _options_table(parameters: list[Any]) -> str:
    """A table of what can be given. Built from the parameters: how Typer formats its help differs between versions."""
    shown = [parameter for parameter in parameters if not getattr(parameter, "hidden", False)]
    rows = [f"| `{_written(parameter)}` | {_cell(parameter.help)} |\n" for parameter in shown]
    return f"| argument or flag | what it is |\n|---|---|\n{''.join(rows)}\n"


def _written(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar if parameter.required else f"[{parameter.metavar}]")
    flags = ", ".join(sorted(parameter.opts, key=len))
    return flags if parameter.is_flag else f"{flags} {parameter.metavar}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Writes both pages into the folder that was named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.md").write_text(configuration_page(), encoding="utf-8")
    (folder / "cli.md").write_text(cli_page(), encoding="utf-8")
    (folder / "worker-states.md").write_text(states_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
