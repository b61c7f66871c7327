"""What every concept's settings module builds on: a strict table, and the types of durations, sizes and paths."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

from fairlead.commands import parse_command
from fairlead.units import parse_duration, parse_size

_PATH = r"^[^\x00]+$"


class Table(BaseModel):
    """One table of the configuration. Unknown keys are errors; values are read strictly but for durations and sizes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def allowed(text: str) -> dict[str, Any]:
    """For `json_schema_extra`: what a value may be, in words, where the schema alone says it badly."""
    return {"x-allowed": text}


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
            "examples": ["250ms", "30s", "1h30m"],
            "x-kind": "duration",
            "x-allowed": "a duration such as 250ms, 30s, 10m or 1h30m, or a number of seconds",
        }
    ),
]
"""A duration in seconds; written as a number or as text such as `30s`."""

SomeSeconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}],
            "examples": ["250ms", "30s", "1h30m"],
            "x-kind": "duration",
            "x-allowed": "a duration above 0 such as 250ms, 30s, 10m or 1h30m, or a number of seconds",
        }
    ),
]
"""A duration that cannot be 0."""

Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}],
            "examples": ["64KB", "512MB"],
            "x-kind": "size",
            "x-allowed": "a size such as 64KB, 512MB or 1.5GiB, or a number of bytes",
        }
    ),
]
"""A size in bytes; written as a number or as text such as `512MB`."""

FilePath = Annotated[
    str,
    Field(pattern=_PATH),
    WithJsonSchema({"type": "string", "pattern": _PATH, "x-kind": "path", "x-allowed": "the path of a file"}),
]
FolderPath = Annotated[
    str,
    Field(pattern=_PATH),
    WithJsonSchema({"type": "string", "pattern": _PATH, "x-kind": "path", "x-allowed": "the path of a folder"}),
]
"""A path; a relative one counts from the configuration file's folder (from a flag or variable: the working folder)."""

Command = Annotated[
    tuple[str, ...],
    BeforeValidator(parse_command),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["alembic upgrade head", ["sh", "-c", "echo hello"]],
            "x-kind": "command",
            "x-allowed": "a program with its arguments, as one text or as a list of words",
        }
    ),
]
"""A program and its arguments; written as a text that is split into words, or as a list of them."""


def _check_variables(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a variable; allowed: any text without = in it")
        if "\0" in value.get_secret_value():
            raise ValueError(f"the value of {name} has a NUL in it, which no variable can have")
    return variables


Variables = Annotated[dict[str, SecretStr], AfterValidator(_check_variables)]
"""Variables of a program. Their values are secret."""
