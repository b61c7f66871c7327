"""Nested tables, lists of tables and secrets, which the tables to come have."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, SecretStr, model_validator

from fairlead.config.layers import Layer, absolute
from fairlead.config.leaves import all_leaves, leaf_at, schema_of
from fairlead.config.problems import layer_problems, merged_problems
from fairlead.config_base import FilePath, Seconds, Table


class Step(Table):
    """A step."""

    file: FilePath = "x"
    run: str
    timeout: Seconds = 60.0
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.run:
            raise ValueError("run is empty")
        return self


class Shop(Table):
    """A shop."""

    step: Step | None = Field(None, description="One.")
    steps: list[Step] = Field(default_factory=list, description="Several.")
    groups: list[list[str]] = Field(default_factory=list, description="Lists.")
    low: int = 1
    high: int = 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Model(Table):
    """Everything."""

    shop: Shop = Shop()
    steps: list[Step] = Field(default_factory=list, description="Steps.")


def told(data) -> list[str]:
    return layer_problems(Layer(data, lambda place: "x.toml", Path("/")), Model)


def test_leaves_are_a_tables_keys_and_fields_that_are_no_table():
    leaves = all_leaves(Model)
    assert list(leaves) == [("shop", key) for key in ("step", "steps", "groups", "low", "high")] + [("steps",)]
    assert leaves["steps",].variable == "FAIRLEAD_STEPS"
    assert leaves["steps",].allowed == "a list of tables"
    assert leaves["shop", "groups"].allowed == "a list of lists"
    assert leaf_at(("steps", "0", "run"), Model) == leaves["steps",]
    assert leaf_at(("shop",), Model) is None


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"steps": 3}, "x.toml: steps: allowed: a list of tables"),
        ({"steps": [3]}, "x.toml: steps[0]: allowed: a table"),
        ({"steps": [{}]}, "x.toml: steps[0].run: missing; allowed: text"),
        ({"steps": [{"run": "a"}, {"run": "b", "timeuot": 3}]}, "x.toml: steps[1].timeuot: no such key; did you mean timeout?"),
        ({"steps": [{"run": "a", "timeout": "x"}]}, 'x.toml: steps[0].timeout = "x": allowed: a duration such as '),
        ({"steps": [{"run": ""}]}, "x.toml: steps[0]: run is empty"),
        ({"shop": {"step": {"run": 1}}}, "x.toml: shop.step.run = 1: allowed: text"),
        ({"shop": {"step": {"urn": "x", "run": "y"}}}, "x.toml: shop.step.urn: no such key; did you mean run?"),
        ({"shop": {"groups": [["a"], ["b", 3]]}}, "x.toml: shop.groups[1][1] = 3: allowed: text"),
        ({"stepz": []}, "x.toml: stepz: no such table; did you mean steps?"),
    ],
)  # fmt: skip
def test_nested_value_is_named_by_its_place(data, line):
    (found,) = told(data)
    assert found.startswith(line)


@pytest.mark.parametrize(
    "data",
    [
        {"steps": [{"run": "a", "token": 12345}]},
        {"steps": [{"run": "", "token": "12345"}]},
        {"steps": [{"token": "12345"}]},
        {"steps": '[{"token": "12345"'},
        {"shop": {"step": "12345"}},
    ],
)
def test_secret_is_never_in_a_message(data):
    (found,) = told(data)
    assert "12345" not in found


def test_what_keys_say_about_each_other_is_told_of_all_sources_together():
    assert told({"shop": {"low": 3}}) == []
    assert merged_problems({"shop": {"low": 3}}, lambda place: ".".join(place), Model) == [
        "shop: shop: low is above high"
    ]
    assert merged_problems({"shop": {"low": 3, "high": 4}}, lambda place: "", Model) == []


def test_relative_paths_are_made_absolute_however_deep_they_are():
    data = {
        "shop": {"step": {"file": "a"}, "steps": [{"file": "b"}, {"file": "/c"}, 3]},
        "steps": "text",
        "more": {"file": "d"},
    }
    assert absolute(data, schema_of(Model), Path("/etc")) == {
        "shop": {"step": {"file": "/etc/a"}, "steps": [{"file": "/etc/b"}, {"file": "/c"}, 3]},
        "steps": "text",
        "more": {"file": "d"},
    }
