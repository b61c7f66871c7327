"""Plain data as JSON and back: dataclasses, enums, tuples, sets, dicts with any key; one object stays one object.

Shared by the plan, which travels to children, and the supervisor's state, which travels to its successor. Fields that the
reader has and the text has not take their defaults; fields that the reader does not know are an error.
"""

import dataclasses
import enum
import types
import typing
from typing import Any

from fairlead.lean_dataclass import is_frozen


def dump(value: object) -> Any:
    """`value` as JSON values. A dataclass that may change and is met again becomes a reference to where it was first."""
    return _dump(value, {})


def load(kind: Any, value: Any) -> Any:
    """What `dump` made of a `kind`. Raises ValueError, TypeError or KeyError when it is not one."""
    return _load(kind, value, {})


def _dump(value: Any, seen: dict[int, int]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        if is_frozen(type(value)):
            return {field.name: _dump(getattr(value, field.name), seen) for field in fields}
        if id(value) in seen:
            return {"#": seen[id(value)]}
        number = seen[id(value)] = len(seen)
        return {"#": number, **{field.name: _dump(getattr(value, field.name), seen) for field in fields}}
    if isinstance(value, dict):
        return [[_dump(key, seen), _dump(item, seen)] for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [_dump(item, seen) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value


def _load(kind: Any, value: Any, seen: dict[int, Any]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [option for option in arguments if option is not type(None)]
        return None if value is None else _load(inner[0], value, seen)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_load(arguments[0], item, seen) for item in value)
        return tuple(_load(option, item, seen) for option, item in zip(arguments, value, strict=True))
    if origin is dict:
        return {_load(arguments[0], key, seen): _load(arguments[1], item, seen) for key, item in value}
    if origin in (list, set, frozenset):
        return origin(_load(arguments[0], item, seen) for item in value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _load_record(kind, value, seen)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return value


def _load_record(kind: type, value: dict[str, Any], seen: dict[int, Any]) -> Any:
    number = value.get("#")
    if number is not None and len(value) == 1:
        return seen[number]
    hints = typing.get_type_hints(kind)
    made = kind(**{key: _load(hints[key], item, seen) for key, item in value.items() if key != "#"})
    if number is not None:
        seen[number] = made
    return made
