"""Settings of the `[http]` table."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from fairlead.config_base import Bytes, Seconds, Table, allowed
from fairlead.http.binds import parse_bind

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _checked_bind(text: str) -> str:
    parse_bind(text)
    return text


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """What cannot go into a response is refused here, not in a worker."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name; allowed: letters, digits and dashes")
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"{value!r} is no value for the header {name}; allowed: printable ASCII text")
    return headers


_Bind = Annotated[str, AfterValidator(_checked_bind), WithJsonSchema({"type": "string", "x-kind": "bind"})]


class HttpSettings(Table):
    """Where to listen, and how to speak HTTP. Names follow uvicorn's where the setting is uvicorn's."""

    host: str = Field(
        "127.0.0.1",
        pattern=r"^([^\s/\[\]:]+|[0-9a-fA-F]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*(%\w+)?)$",
        json_schema_extra=allowed("an address or a host name, without brackets and port"),
        description="The address to listen on. 0.0.0.0 or :: is every address.",
    )
    port: int = Field(8000, ge=0, le=65535, description="The TCP port. 0 lets the kernel choose.")
    bind: list[_Bind] = Field(
        default_factory=list,
        json_schema_extra=allowed('a list of "host:port", "[ipv6]:port", "unix:/path/to.sock" and "fd:3"'),
        description='Any number of places instead of host and port: "host:port", "[::1]:8000", "unix:/run/app.sock", '
        '"fd:3" (an inherited descriptor).',
    )
    unix_mode: str = Field(
        "0660",
        pattern=r"^0?[0-7]{3}$",
        json_schema_extra=allowed('an octal mode in quotes, such as "0660"'),
        description="The mode of unix sockets, in octal.",
    )
    backlog: int = Field(2048, ge=1, le=65535, description="Connections the kernel may queue before they are accepted.")
    protocol: Literal["auto", "httptools", "h11"] = Field("auto", description="The HTTP/1.1 parser. auto: httptools.")
    loop: Literal["auto", "uvloop", "asyncio"] = Field("auto", description="The event loop. auto: uvloop.")
    lifespan: Literal["auto", "on", "off"] = Field("auto", description="Whether the app's lifespan is run.")
    keep_alive_timeout: Seconds = Field(5.0, description="How long an idle keep-alive connection stays open.")
    header_timeout: Seconds = Field(
        10.0,
        description="How long a request's header may take from its first byte (a new connection: from the start), "
        "however it trickles. 0: no limit.",
    )
    idle_timeout: Seconds = Field(
        60.0,
        description="How long a client may send nothing of a body that the app waits for, or take nothing of a "
        "response. 0: no limit.",
    )
    max_header_size: Bytes = Field(
        64 * 1024, ge=1024, description="The largest request header, the URL included (431)."
    )
    max_headers: int = Field(100, ge=1, description="The most header fields of a request (431).")
    max_body_size: Bytes = Field(100 * 1000 * 1000, description="The largest request body (413). 0: no limit.")
    max_connections: int = Field(
        10_000, ge=0, description="Connections of one worker; beyond, they wait in the kernel's queue. 0: no limit."
    )
    max_in_flight: int = Field(
        1000,
        ge=0,
        description="Requests of one worker that may be under way at once, event streams and WebSockets not counted; "
        "beyond, clients get 503 with Retry-After. 0: no limit.",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/\S*)?$",
        json_schema_extra=allowed('a path such as "/api"'),
        description="The path prefix a proxy strips (ASGI root_path).",
    )
    proxy_headers: bool = Field(
        True,
        description="Believe X-Forwarded-For and -Proto of trusted addresses, and of whoever reaches a unix socket.",
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1,::1",
        description='Addresses or networks whose proxy headers are believed, comma-separated; "*" is all.',
    )
    headers: Annotated[dict[str, str], AfterValidator(_checked_headers)] = Field(
        default_factory=dict,
        json_schema_extra=allowed('a table such as { "X-Frame-Options" = "DENY" }'),
        description="Headers added to every response.",
    )
    server_header: bool = Field(False, description="Send `server: uvicorn`.")
    date_header: bool = Field(True, description="Send the date.")
    ws_max_size: Bytes = Field(16 * 1024 * 1024, description="The largest WebSocket message.")
    ws_max_queue: int = Field(32, ge=1, description="WebSocket messages queued for the app.")
    ws_ping_interval: Seconds = Field(20.0, description="How often a WebSocket is pinged. 0: never.")
    ws_ping_timeout: Seconds = Field(20.0, description="How long a pong may take.")
    ws_per_message_deflate: bool = Field(True, description="Compress WebSocket messages.")
    h11_max_incomplete_event_size: Bytes = Field(
        64 * 1024, description="h11 only: the largest header it buffers; max_header_size bounds it as well."
    )
