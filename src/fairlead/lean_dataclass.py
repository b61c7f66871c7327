"""`dataclass` as in the standard library, for less than a tenth of the time that defining a class takes there.

That one compiles six methods for every class, which adds up to a fifth of what a supervisor or a template imports, and so
of every start. Here all classes share the same methods, which look at the class's fields when they are called: making
an instance takes a few microseconds longer, so this is for plans, messages, events and state, not for what is made at every request.

`fields`, `replace`, `asdict` and `is_dataclass` work as they do for others, and type checkers see the standard one.
Not offered, because nobody asked: `order`, `unsafe_hash`, `init=False`, `kw_only`, `__post_init__`, `InitVar`, and copies and
pickles of frozen ones.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool) -> Callable[[type], type]:
        """The decorator of the standard library; always with slots."""
        if not slots:
            raise TypeError("cannot make a lean dataclass without slots")
        return _frozen if frozen else _mutable


def is_frozen(kind: type) -> bool:
    """Whether the fields of a dataclass, from here or elsewhere, stay as they are."""
    assigns: object = kind.__setattr__
    return assigns is not object.__setattr__


def _frozen(cls: type) -> type:
    return _with(_FROZEN, cls)


def _mutable(cls: type) -> type:
    return _with(_METHODS | {"__hash__": None}, cls)


def _with(methods: dict[str, Any], cls: type) -> type:
    own = set(vars(cls))
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


# What every class gets. `self` is annotated as what it is to these functions: anything with fields.


def _init(self: Any, *values: Any, **named: Any) -> None:
    names = self.__match_args__
    if len(values) > len(names):
        raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(values)}")
    for name, value in zip(names, values, strict=False):
        _put(self, name, value)
        if name in named:
            raise TypeError(f"{type(self).__name__} got two values for {name!r}")
    for name in names[len(values) :]:
        _put(self, name, named.pop(name) if name in named else _default(self, name))
    if named:
        raise TypeError(f"{type(self).__name__} has no field {next(iter(named))!r}")


_put = object.__setattr__


def _default(self: Any, name: str) -> Any:
    field = self.__dataclass_fields__[name]
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise TypeError(f"{type(self).__name__} needs a value for {name!r}")


def _repr(self: Any) -> str:
    shown = (field.name for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.compare)


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse_to_assign(self: Any, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to {name!r} of {type(self).__name__}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete {name!r} of {type(self).__name__}")


_METHODS = {"__init__": _init, "__repr__": _repr, "__eq__": _eq}
_FROZEN = _METHODS | {"__hash__": _hash, "__setattr__": _refuse_to_assign, "__delattr__": _refuse_to_delete}
