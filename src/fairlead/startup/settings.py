"""Settings of the `[startup]` table."""

from pydantic import Field

from fairlead.config_base import FilePath, FolderPath, SomeSeconds, Table, allowed


class StartupSettings(Table):
    """What a start may take, and when a worker counts as ready."""

    import_timeout: SomeSeconds = Field(600.0, description="How long importing the app may take.")
    lifespan_timeout: SomeSeconds = Field(
        60.0, description="How long the app's lifespan startup may take, in each worker."
    )
    probe: str | None = Field(
        None,
        pattern=r"^/[^\s]*$",
        json_schema_extra=allowed('a path such as "/healthz"'),
        description='A path ("/healthz") called inside each worker before it takes traffic; 2xx passes.',
    )
    probe_timeout: SomeSeconds = Field(10.0, description="How long the probe may take, tries included.")
    environment_file: FilePath | None = Field(
        None,
        description="For `fairlead install`: a file of NAME=value lines that systemd reads for the service. Keep it readable "
        "by root alone.",
    )
    credentials: dict[str, FilePath] = Field(
        default_factory=dict,
        json_schema_extra=allowed('a table such as { db_password = "/etc/shop/db_password" }'),
        description="For `fairlead install`: secrets that systemd hands to the service as files in $CREDENTIALS_DIRECTORY, "
        "by name and path.",
    )
    writable: list[FolderPath] = Field(
        default_factory=list,
        description="For `fairlead install`: folders the app writes to. All others are read-only for it, but for "
        "$STATE_DIRECTORY.",
    )
