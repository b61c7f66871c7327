"""Settings of the `[[companions]]` tables."""

from typing import Literal

from pydantic import Field

from fairlead.companions.policy import Companion
from fairlead.config_base import Command, Seconds, Table, Variables, allowed


class CompanionSettings(Table):
    """Another process of the same release beside the workers: a scheduler, a queue consumer, an outbox."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        json_schema_extra=allowed("1 to 64 letters, digits, dots, dashes and underscores; the first a letter or digit"),
        description="The companion's name, in the log and in status.",
    )
    run: Command = Field(
        json_schema_extra=allowed("a program with its arguments, or a function such as app.jobs:main"),
        description="The program and its arguments; or a function of the app, which then shares the app's memory.",
    )
    replicas: int = Field(1, ge=1, le=64, description="How many processes of it run.")
    env: Variables = Field({}, description="Variables beside those of the app. Never shown.")
    stop_signal: Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] = Field(
        "TERM", description="The signal that asks it to end."
    )
    stop_timeout: Seconds = Field(10.0, description="After this long it is killed.")
    restart: Literal["always", "on-failure", "never"] = Field(
        "always", description="Whether it is started again when it ends by itself."
    )
    overlap: bool = Field(
        True,
        description="Whether the new and the old one may run at once in a reload. false: the old one ends first.",
    )
    settle_time: Seconds = Field(1.0, description="It counts as started when it has run for this long.")

    def plan(self) -> Companion:
        """The companion as plain data."""
        values = {key: value for key, value in self if key != "env"}
        return Companion(**values, env=tuple((key, value.get_secret_value()) for key, value in self.env.items()))
