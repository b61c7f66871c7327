"""Settings of the `[app]` table."""

from pydantic import Field

from fairlead.config_base import FolderPath, Table, allowed


class AppSettings(Table):
    """Which app runs, from where, and as whom."""

    target: str | None = Field(
        None,
        pattern=r"^[^\x00]+$",
        json_schema_extra=allowed(
            'a file ("main.py"), a module ("pkg.mod"), or either with an attribute ("pkg.mod:app")'
        ),
        description='A file ("main.py"), a module ("pkg.mod") or a module and attribute ("pkg.mod:app"). '
        "Without it main.py, app.py, api.py, or one of them in app/ is found, as `fastapi run` does.",
    )
    factory: bool = Field(False, description="The target is a function that returns the app.")
    dir: FolderPath | None = Field(
        None,
        description="The folder the app is imported from. Default: for a file, the first folder above it that is no "
        "package; else the configuration's folder, or the working one.",
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        json_schema_extra=allowed("1 to 64 letters, digits, dots, dashes and underscores; the first a letter or digit"),
        description="The instance's name, for its control socket and lock. Default: the name of the configuration's folder, "
        "or the working one.",
    )
    user: str | None = Field(
        None,
        pattern=r"^[^\x00:\s]+$",
        json_schema_extra=allowed("the name or number of a user"),
        description="When started as root: the user that everything but the supervisor runs as.",
    )
    group: str | None = Field(
        None,
        pattern=r"^[^\x00:\s]+$",
        json_schema_extra=allowed("the name or number of a group"),
        description="When started as root: the group. Default: the user's.",
    )
