import dataclasses
from dataclasses import field

import pytest

from fairlead.lean_dataclass import dataclass, is_frozen


@dataclass(frozen=True, slots=True)
class Base:
    """Frozen."""


@dataclass(frozen=True, slots=True)
class Port(Base):
    """With all that a field may have."""

    number: int
    name: str = "http"
    tags: tuple[str, ...] = field(default_factory=tuple)
    secret: str = field(default="", repr=False, compare=False)

    @property
    def text(self) -> str:
        return f"{self.name}:{self.number}"


@dataclass(slots=True)
class Counter:
    """One that changes."""

    count: int = 0
    seen: list[int] = field(default_factory=list)


def test_values_are_taken_by_place_and_by_name_and_defaults_fill_the_rest() -> None:
    assert Port(80).text == "http:80"
    assert Port(443, name="https", tags=("a",)).tags == ("a",)
    assert Counter().seen is not Counter().seen


@pytest.mark.parametrize(
    ("values", "named", "cause"),
    [
        ((), {}, "needs a value for 'number'"),
        ((1, "a", (), "", 5), {}, "takes 4 values, not 5"),
        ((1,), {"number": 2}, "two values for 'number'"),
        ((1,), {"nmae": "x"}, "no field 'nmae'"),
    ],
)
def test_wrong_values_are_a_type_error(values, named, cause) -> None:
    with pytest.raises(TypeError, match=cause):
        Port(*values, **named)


def test_equality_and_hash_are_those_of_the_values_of_one_class() -> None:
    assert Port(80, secret="a") == Port(80, secret="b")
    assert hash(Port(80)) == hash(Port(80))
    assert Port(80) != Port(81)
    assert Port(80) != (80, "http", (), "")
    assert Counter(1) == Counter(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter())


def test_repr_names_the_fields_but_no_secrets() -> None:
    assert repr(Port(80, secret="hush")) == "Port(number=80, name='http', tags=())"


def test_frozen_fields_stay_and_others_change() -> None:
    port = Port(80)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'number' of Port"):
        port.number = 81  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'number' of Port"):
        del port.number
    counter = Counter()
    counter.count += 1
    assert counter.count == 1
    assert (is_frozen(Port), is_frozen(Counter)) == (True, False)


def test_the_standard_librarys_functions_take_them() -> None:
    assert dataclasses.is_dataclass(Port)
    assert [one.name for one in dataclasses.fields(Port)] == ["number", "name", "tags", "secret"]
    assert dataclasses.replace(Port(80), name="x") == Port(80, "x")
    assert dataclasses.asdict(Counter(2, [1])) == {"count": 2, "seen": [1]}
    match Port(80):
        case Port(number, name):
            assert (number, name) == (80, "http")


def test_no_other_names_can_be_set() -> None:
    with pytest.raises(AttributeError):
        Counter().total = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="without slots"):
        dataclass(frozen=True, slots=False)
