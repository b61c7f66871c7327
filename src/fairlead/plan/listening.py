"""Where to listen, and what is spoken there: `[http]` and `[https]` put together. Pure."""

from collections.abc import Iterator

from fairlead.errors import InputError
from fairlead.http.binds import parse_bind
from fairlead.http.settings import HttpSettings
from fairlead.https.settings import HttpsSettings
from fairlead.plan.model import Bind

_LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path that the kernel takes (sockaddr_un), without the final zero."""
_SPEAKS = {"redirect": "redirect", "serve": "http"}
"""What plain HTTP does beside HTTPS → what its listener speaks."""


def binds_of(http: HttpSettings, https: HttpsSettings, ipv6: bool) -> tuple[Bind, ...]:
    """All places to listen. `ipv6`: whether this host has it. InputError for a socket's path that is too long.

    With HTTPS on, the places of http.bind speak HTTPS, but for unix sockets, which only this machine reaches; plain
    HTTP listens on the same addresses. Nothing said: every address, or for localhost's certificate the loopback ones.
    """
    if https.resolved_mode == "off":
        return tuple(_named(http)) or (Bind("tcp", host=http.host, port=http.port, backlog=http.backlog),)
    https_port, http_port = https.ports
    named = list(_named(http, "https")) or [
        Bind("tcp", host=host, port=https_port, backlog=http.backlog, speaks="https")
        for host in _hosts(http, https, ipv6)
    ]
    plain = dict.fromkeys(
        Bind("tcp", host=bind.host, port=http_port, backlog=http.backlog, speaks=_SPEAKS[https.http])
        for bind in named
        if bind.kind == "tcp" and https.http != "off"
    )
    return (*named, *plain)


def check_socket_path(path: str, what: str) -> None:
    """InputError when the kernel would not take the path."""
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise InputError(
            f"cannot use {path} for {what}: the path of a unix socket has at most {_LONGEST_SOCKET_PATH} bytes, "
            f"this one has {len(path.encode())}"
        )


def _named(http: HttpSettings, speaks: str = "http") -> Iterator[Bind]:
    for text in http.bind:
        place = parse_bind(text)
        if place.kind == "unix":
            check_socket_path(place.path, "http.bind")
        spoken = "http" if place.kind == "unix" else speaks
        yield Bind(**place._asdict(), mode=int(http.unix_mode, 8), backlog=http.backlog, speaks=spoken)


def _hosts(http: HttpSettings, https: HttpsSettings, ipv6: bool) -> list[str]:
    if "host" in http.model_fields_set:
        return [http.host]
    hosts = ["127.0.0.1", "::1"] if https.is_local else ["0.0.0.0", "::"]  # noqa: S104 - a public service is meant
    return hosts if ipv6 else hosts[:1]
