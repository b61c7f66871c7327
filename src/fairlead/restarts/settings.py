"""Settings of the `[restarts]` table."""

from pydantic import Field

from fairlead.config_base import Seconds, Table


class RestartSettings(Table):
    """When a worker is replaced, how fast, and how gently."""

    hang_timeout: Seconds = Field(
        30.0, description="A worker whose event loop has not run for this long is killed and replaced. 0: never."
    )
    backoff_initial: Seconds = Field(0.5, description="The wait before the second replacement in a row; it doubles.")
    backoff_max: Seconds = Field(30.0, description="The longest wait between replacements.")
    quiet_time: Seconds = Field(
        60.0, description="Without a death for this long, the next one is replaced at once again."
    )
    max_requests: int = Field(0, ge=0, description="A worker is replaced after about this many requests. 0: never.")
    max_requests_jitter: int = Field(0, ge=0, description="Up to this many requests more, chosen for each worker.")
    max_age: Seconds = Field(0.0, description="A worker is replaced when it is about this old. 0: never.")
    max_age_jitter: Seconds = Field(0.0, description="Up to this much later, chosen for each worker.")
    drain_timeout: Seconds = Field(30.0, description="How long requests under way may take when a worker leaves.")
    idle_grace: Seconds | None = Field(
        None, description="How long idle keep-alive connections stay open in a drain. Default: http.keep_alive_timeout."
    )
    stream_spread: Seconds = Field(
        5.0,
        description="WebSockets and event streams are ended over this long in a drain, so clients do not return at once.",
    )
    park: Seconds = Field(600.0, description="How long the previous release stays in memory for `fairlead rollback`.")
    batch: int = Field(0, ge=0, description="Workers replaced at a time in a reload. 0: all together.")
