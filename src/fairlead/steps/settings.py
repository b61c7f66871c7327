"""Settings of the `[[steps]]` tables."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from fairlead.config_base import Command, SomeSeconds, Table, Variables, allowed
from fairlead.steps.policy import Step

_HOST = r"(?:\[[^\]]*\]|[^\[\]:@/?,\s]*)(?::\d*)?"
_PARAMETER = r"\w+=[^=\s&]*"
_ADDRESS = re.compile(rf"(?:[^@/\s]*@)?{_HOST}(?:,{_HOST})*(?:/[^@?\s]*)?(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _check_database(address: SecretStr) -> SecretStr:
    """An address that PostgreSQL would take apart wrongly is refused here: its own complaint may show a part of the password."""
    scheme, _, rest = address.get_secret_value().partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("allowed: the address of a PostgreSQL database, postgresql://…")
    if not _ADDRESS.fullmatch(rest) or _BAD_PERCENT.search(rest):
        raise ValueError(
            "allowed: postgresql://user:password@host:port/database; @, /, ?, #, % and a space in a password are written %40, "
            "%2F, %3F, %23, %25 and %20"
        )
    return address


Database = Annotated[SecretStr, AfterValidator(_check_database)]


class StepSettings(Table):
    """A command that runs once before the first worker of a release starts, in the order written."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        json_schema_extra=allowed("1 to 64 letters, digits, dots, dashes and underscores; the first a letter or digit"),
        description="The step's name, in the log and for `fairlead steps run NAME`.",
    )
    run: Command = Field(description='The program and its arguments, such as "alembic upgrade head". No shell.')
    timeout: SomeSeconds = Field(600.0, description="A step that takes longer is stopped, and has failed.")
    retries: int = Field(0, ge=0, le=100, description="How often a step that failed is tried again.")
    env: Variables = Field({}, description="Variables beside those that Fairlead itself was started with. Never shown.")
    when: Literal["release", "start"] = Field(
        "release",
        description="release: once for each new state of code and configuration. start: at each start and reload.",
    )
    lock: Database | None = Field(
        None,
        json_schema_extra=allowed("the address of a PostgreSQL database, postgresql://…"),
        description="A PostgreSQL database whose advisory lock and memory make several hosts run the step once together.",
    )

    def plan(self) -> Step:
        """The step as plain data."""
        return Step(
            name=self.name,
            run=self.run,
            timeout=self.timeout,
            retries=self.retries,
            env=tuple((key, value.get_secret_value()) for key, value in self.env.items()),
            when=self.when,
            lock=self.lock.get_secret_value() if self.lock else "",
        )
