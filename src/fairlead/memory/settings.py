"""Settings of the `[memory]` table."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from fairlead.config_base import Bytes, Table
from fairlead.memory.policy import parse_budget


def _check_budget(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    parse_budget(text, 0)
    return text


Budget = Annotated[
    str,
    BeforeValidator(_check_budget),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}],
            "examples": ["80%", "4GB"],
            "x-kind": "budget",
            "x-allowed": "a share such as 80% of what may be used, a size such as 4GB, or 0 for none",
        }
    ),
]


class MemorySettings(Table):
    """What the processes share, and what they may have."""

    preload: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Import the app once and fork the workers from it. auto: unless the import leaves threads or sockets.",
    )
    budget: Budget = Field(
        "80%",
        description="What all processes together may hold: no more workers run than fit. A share counts from the machine's "
        "memory or the cgroup's limit. 0: no budget.",
    )
    worker_limit: Bytes = Field(0, description="A worker whose own memory grows above this is replaced. 0: never.")
    gc: Literal["tuned", "default"] = Field(
        "tuned",
        description="tuned: collect garbage less often than Python does by itself, and never in what the import made.",
    )
