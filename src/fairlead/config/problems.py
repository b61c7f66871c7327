"""Values against the models: every error as one line that names place, key, value and what is allowed."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fairlead.config.files import Key
from fairlead.config.layers import Layer, did_you_mean
from fairlead.config.leaves import (
    Schema,
    all_leaves,
    allowed_by,
    as_toml,
    inner_schema,
    is_secret,
    kind_of,
    leaf_at,
    options,
    schema_of,
)
from fairlead.config.settings import Settings
from fairlead.config_base import Table

_LONGEST_VALUE = 60


def layer_problems(layer: Layer, model: type[Table] = Settings) -> list[str]:
    """One source's errors, one line each. What keys say about each other is not among them: others may set the rest."""
    return layer.problems + _problems(layer.data, layer.origin, model, whole=False)


def merged_problems(data: Mapping[str, Any], origin: Callable[[Key], str], model: type[Table] = Settings) -> list[str]:
    """The errors that only all sources together make."""
    return _problems(data, origin, model, whole=True)


def _problems(data: Mapping[str, Any], origin: Callable[[Key], str], model: type[Table], *, whole: bool) -> list[str]:
    lines: dict[Key, str] = {}
    one_of_several: set[Key] = set()
    try:
        model.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            place, schema = _placed(details, schema_of(model))
            if len(place) < len(details["loc"]):
                one_of_several.add(place)
            if whole or details["type"] != "value_error" or leaf_at(place, model):
                lines.setdefault(place, f"{origin(place)}: {_message(place, schema, details, model)}")
    # What may be a table or something else, and is a table with a mistake in it: the mistake is told, and that alone.
    inside = {place[:depth] for place in lines for depth in range(1, len(place))}
    return [line for place, line in lines.items() if place not in one_of_several & inside]


def _placed(details: ErrorDetails, schema: Schema) -> tuple[Key, Schema]:
    """Where in the configuration the error is, and what may be there; what pydantic adds for unions is dropped."""
    place: Key = ()
    location = details["loc"]
    unknown = location[-1:] if details["type"] == "extra_forbidden" else ()
    for part in location[: len(location) - len(unknown)]:
        inner = inner_schema(schema, part)
        if inner is not None:
            place, schema = (*place, str(part)), inner
    return (*place, *map(str, unknown)), schema


def _message(place: Key, schema: Schema, details: ErrorDetails, model: type[Table]) -> str:
    name = _written(place)
    if details["type"] == "extra_forbidden":
        return f"{name}: no such {'table' if len(place) == 1 else 'key'}{_nearest(place, schema, model)}"
    if details["type"] == "missing":
        return f"{name}: missing; allowed: {allowed_by(schema)}"
    if details["type"] == "value_error" and kind_of(schema) not in ("duration", "size"):
        return f"{name}{_shown(details['input'], schema)}: {details['ctx']['error']}"
    return f"{name}{_shown(details['input'], schema)}: allowed: {allowed_by(schema)}"


def _written(place: Key) -> str:
    """`https.files[0].key`."""
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in place).removeprefix(".")


def _shown(value: object, schema: Schema) -> str:
    """` = VALUE`; nothing for a whole table, which says little and may hold a secret, or for a secret."""
    if is_secret(schema) or isinstance(value, dict) or (isinstance(value, list) and any(map(_is_nested, value))):
        return ""
    text = as_toml(value)
    return f" = {text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + '…'}"


def _is_nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _nearest(place: Key, schema: Schema, model: type[Table]) -> str:
    """The known name that was probably meant: beside it, else the same name elsewhere."""
    siblings = [name for option in options(schema) for name in option.get("properties", ())]
    elsewhere = [leaf.dotted for leaf in all_leaves(model).values() if leaf.key[-1] == place[-1]]
    if len(place) == 1 and elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return did_you_mean(place[-1], siblings) or (f"; did you mean {elsewhere[0]}?" if elsewhere else "")
