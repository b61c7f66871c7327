"""What can be set, read off the settings models: for errors, environment names, `fairlead config` and the reference."""

import functools
import json
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from fairlead.config.files import Key
from fairlead.config.settings import Settings
from fairlead.config_base import Table
from fairlead.lean_dataclass import dataclass
from fairlead.units import format_duration, parse_duration

Schema = dict[str, Any]
_SIZE_UNITS = (("GiB", 2**30), ("GB", 10**9), ("MiB", 2**20), ("MB", 10**6), ("KiB", 2**10), ("KB", 10**3))
_WORDS = {"boolean": "true or false", "string": "text", "number": "a number", "object": "a table"}
_PLURALS = {"string": "texts", "object": "tables", "integer": "whole numbers", "array": "lists"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting. `schema` is its JSON Schema, with everything it refers to inside."""

    key: Key
    schema: Schema
    default: object
    description: str

    @property
    def dotted(self) -> str:
        """`http.port`."""
        return ".".join(self.key)

    @property
    def variable(self) -> str:
        """`FAIRLEAD_HTTP_PORT`."""
        return "_".join(("FAIRLEAD", *self.key)).upper()

    @property
    def kind(self) -> str | None:
        """duration, size, path or bind; None for the rest."""
        return kind_of(self.schema)

    @property
    def allowed(self) -> str:
        """What the value may be, in words."""
        return allowed_by(self.schema)

    def written(self, value: object) -> str:
        """The value as a person writes it in TOML; `not set` for None."""
        if value is None:
            return "not set"
        if self.kind == "duration" and isinstance(value, int | float):
            return json.dumps(_exact_duration(float(value)))
        if self.kind == "size" and isinstance(value, int):
            return json.dumps(_exact_size(value))
        return as_toml(to_jsonable_python(value, exclude_none=True))


@functools.cache
def all_leaves(model: type[Table] = Settings) -> dict[Key, Leaf]:
    """Every setting, in the order of the models: a table's keys, or a field that is no table as a whole."""
    leaves = {}
    for key, field in _fields(model):
        schema = functools.reduce(lambda outer, part: outer["properties"][part], key, schema_of(model))
        default = field.get_default(call_default_factory=True)
        leaves[key] = Leaf(key, schema, default, field.description or "")
    return leaves


def leaf_at(place: Key, model: type[Table] = Settings) -> Leaf | None:
    """The setting that `place` is in or is; None for a whole table, or what does not exist."""
    leaves = all_leaves(model)
    return leaves.get(place[:2]) or leaves.get(place[:1])


@functools.cache
def schema_of(model: type[Table] = Settings) -> Schema:
    """The model's JSON Schema, without references."""
    schema = model.model_json_schema()
    whole = _inlined(schema, schema.get("$defs", {}))
    assert isinstance(whole, dict)  # noqa: S101
    return whole


def tables() -> dict[str, str]:
    """Every table with what it is about."""
    return {name: str(schema.get("description", "")) for name, schema in schema_of()["properties"].items()}


def options(schema: Schema) -> list[Schema]:
    """The schema and its alternatives, but for null."""
    return [schema, *(option for option in schema.get("anyOf", ()) if option.get("type") != "null")]


def inner_schema(schema: Schema, part: int | str) -> Schema | None:
    """The schema of a key or an item; None when there can be none."""
    for option in options(schema):
        if isinstance(part, int):
            found = option.get("items")
        else:
            found = option.get("properties", {}).get(part, option.get("additionalProperties"))
        if isinstance(found, dict):
            return found
    return None


def kind_of(schema: Schema) -> str | None:
    """duration, size, path or bind; None for the rest."""
    return next((str(option["x-kind"]) for option in options(schema) if "x-kind" in option), None)


def is_secret(schema: Schema) -> bool:
    """Whether a value of this, or something in it, must not be shown."""
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return bool(schema.get("writeOnly")) or any(
        is_secret(part) for part in [*options(schema)[1:], *inner] if isinstance(part, dict)
    )


def allowed_by(schema: Schema) -> str:
    """What a value may be, in words."""
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(allowed_by(option) for option in options(schema)[1:]))
    if "enum" in schema or "const" in schema:
        values = [json.dumps(value) for value in schema.get("enum", [schema.get("const")])]
        return " or ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
    if schema.get("type") == "array":
        return f"a list of {_PLURALS.get(schema.get('items', {}).get('type'), 'values')}"
    if schema.get("type") == "integer":
        return _allowed_integer(schema)
    return _WORDS.get(schema.get("type", ""), "a value")


def as_toml(value: object) -> str:
    """A value as TOML writes it, as far as settings need it."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{json.dumps(str(k))} = {as_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _fields(model: type[Table]) -> Iterator[tuple[Key, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield from (((name, key), inner) for key, inner in field.annotation.model_fields.items())
        else:
            yield (name,), field


def _inlined(part: object, definitions: dict[str, Schema]) -> object:
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    beside = {key: _inlined(value, definitions) for key, value in part.items() if key not in ("$ref", "$defs")}
    if "$ref" not in part:
        return beside
    meant = _inlined(definitions[part["$ref"].rpartition("/")[2]], definitions)
    assert isinstance(meant, dict)  # noqa: S101
    return meant | beside


def _allowed_integer(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"a whole number from {low} to {high}"
    return "a whole number" if low is None else f"a whole number, {low} or more"


def _exact_duration(seconds: float) -> str:
    text = format_duration(seconds)
    return text if seconds and parse_duration(text) == seconds else f"{seconds:g}s"


def _exact_size(size: int) -> str:
    unit, factor = next(((u, f) for u, f in _SIZE_UNITS if size and size % f == 0), ("B", 1))
    return f"{size // factor}{unit}"
