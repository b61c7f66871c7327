"""The three places a value can come from, each as one layer of the same shape."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from fairlead.config.files import ConfigFile, Key
from fairlead.config.leaves import Leaf, Schema, all_leaves, inner_schema, kind_of, leaf_at, schema_of
from fairlead.config.texts import from_text
from fairlead.lean_dataclass import dataclass

RESERVED_VARIABLES = {
    "FAIRLEAD_CONFIG": "The configuration file, as `--config` names it.",
    "FAIRLEAD_RUNTIME_DIR": "The folder of the control socket and the lock.",
    "FAIRLEAD_STATE_DIR": "The folder of what must outlive a restart, such as which steps ran.",
}
PLATFORM_VARIABLES = {
    "PORT": "`http.port`, unless the file, another variable or a flag says where to listen.",
}
# Kubernetes and Docker links set these for a service that is called fairlead; they are not meant for us.
_SERVICE_LINK = re.compile(r"FAIRLEAD_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?)")


@dataclass(frozen=True, slots=True)
class Layer:
    """Values of one source. `origin` names a key's place in it; relative paths count from `folder`."""

    data: dict[str, Any]
    origin: Callable[[Key], str]
    folder: Path
    problems: list[str] = field(default_factory=list)

    def get(self, key: Key) -> object:
        """The value at `key`, or None."""
        return self._around(key).get(key[-1])

    def has(self, key: Key) -> bool:
        """Whether this layer sets `key`."""
        return key[-1] in self._around(key)

    def drop(self, key: Key) -> None:
        """Takes `key` out."""
        del self._around(key)[key[-1]]

    def _around(self, key: Key) -> dict[str, Any]:
        """The table that `key` is in; an empty one when there is none."""
        table = self.data if len(key) == 1 else self.data.get(key[0])
        return table if isinstance(table, dict) else {}


def file_layer(file: ConfigFile) -> Layer:
    """What the file says, with the paths in it made absolute."""
    return Layer(absolute(file.data, schema_of(), file.folder), file.where, file.folder)


def environment_layer(environ: Mapping[str, str], cwd: Path) -> Layer:
    """FAIRLEAD_<TABLE>_<KEY> variables. An unknown one is a problem: a typo must not pass silently."""
    by_variable = {leaf.variable: leaf for leaf in all_leaves().values()}
    values: dict[Key, object] = {}
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith("FAIRLEAD_") or name in RESERVED_VARIABLES or _SERVICE_LINK.fullmatch(name):
            continue
        if leaf := by_variable.get(name):
            values[leaf.key] = from_text(leaf, environ[name])
        else:
            problems.append(f"{name}: no such setting{did_you_mean(name, [*by_variable, *RESERVED_VARIABLES])}")
    return Layer(absolute(nested(values), schema_of(), cwd), _variable_at, cwd, problems)


def platform_layer(environ: Mapping[str, str], cwd: Path) -> Layer:
    """PORT, by which platforms that run containers say where to listen. The weakest of all: it is not ours alone."""
    text = environ.get("PORT", "")
    data = {"http": {"port": from_text(all_leaves()["http", "port"], text)}} if text else {}
    return Layer(data, lambda _place: "PORT", cwd)


def flag_layer(flags: Mapping[str, tuple[Key, object]], cwd: Path) -> Layer:
    """Flags of the command line: name → (key, value). Values that are None were not given; text is read as in variables."""
    given = {key: (flag, value) for flag, (key, value) in flags.items() if value is not None}
    values = {key: _flag_value(all_leaves()[key], value) for key, (_flag, value) in given.items()}
    data = absolute(nested(values), schema_of(), cwd)
    return Layer(data, lambda place: given.get(place[:2], ("the command line",))[0], cwd)


def nested(values: Mapping[Key, object]) -> dict[str, Any]:
    """Values by key, as the file has them: tables with keys."""
    data: dict[str, Any] = {}
    for key, value in values.items():
        (data if len(key) == 1 else data.setdefault(key[0], {}))[key[-1]] = value
    return data


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing when no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _flag_value(leaf: Leaf, value: object) -> object:
    return from_text(leaf, value) if isinstance(value, str) else value


def _variable_at(place: Key) -> str:
    leaf = leaf_at(place)
    return leaf.variable if leaf else "the environment"


def absolute(value: Any, schema: Schema, folder: Path) -> Any:
    """The value with the relative paths in it counted from `folder`. What does not fit the schema is left as it is."""
    if isinstance(value, dict):
        return {key: absolute(item, inner_schema(schema, key) or {}, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [absolute(item, inner_schema(schema, 0) or {}, folder) for item in value]
    kind = kind_of(schema)
    if kind == "path" and isinstance(value, str) and value:
        return str(folder / value)
    if kind == "bind" and isinstance(value, str) and value.startswith("unix:") and value != "unix:":
        return f"unix:{folder / value.removeprefix('unix:')}"
    return value
