"""Settings of the `[log]` table."""

from typing import Literal

from pydantic import Field

from fairlead.config_base import FilePath, Table


class LogSettings(Table):
    """What is written where. The app's own logging is left alone."""

    format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text, for people to read; json: one object a line, for machines."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least of Fairlead's own events that is written."
    )
    file: FilePath | None = Field(None, description="A file for Fairlead's events instead of stderr; USR1 reopens it.")
    access: bool = Field(True, description="Write a line for every request.")
    access_file: FilePath | None = Field(
        None, description="A file for the access log instead of stdout; USR1 reopens it."
    )
