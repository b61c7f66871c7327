"""Settings of the `[replication]` table."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from fairlead.config_base import SomeSeconds, Table, allowed

Number = Annotated[int, Field(ge=1, le=512)]


def _check_share(value: object) -> str:
    text = str(value).strip() if isinstance(value, str) else ""
    if not text.endswith("%") or not text[:-1].isdecimal() or not 10 <= int(text[:-1]) <= 95:
        raise ValueError("allowed: a share from 10% to 95%")
    return text


Share = Annotated[
    str, BeforeValidator(_check_share), WithJsonSchema({"type": "string", "x-allowed": "a share from 10% to 95%"})
]


class ScaleSettings(Table):
    """Workers that follow the load."""

    min: Number = Field(1, description="Never fewer.")
    max: Number | Literal["auto"] = Field("auto", description="Never more. auto: the CPUs this process may use.")
    target: Share = Field("70%", description="How busy a worker is to be; twenty points around it are left alone.")
    calm: SomeSeconds = Field(30.0, description="How long it has to be calm before there are fewer.")


class ReplicationSettings(Table):
    """How many workers."""

    workers: Number | Literal["auto"] | ScaleSettings = Field(
        "auto",
        json_schema_extra=allowed('a whole number from 1 to 512, "auto" or { min = 1, max = "auto", target = "70%" }'),
        description="A number; auto: the CPUs this process may use (affinity and cgroup quota); or a table with min and "
        "max: as many as the load takes.",
    )
