"""Places to listen, as people write them. Pure."""

import re
from typing import NamedTuple

HELP = 'allowed: "host:port", "[ipv6]:port", "unix:/path/to.sock" or "fd:3"'
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})")


class Place(NamedTuple):
    """Kind `tcp` (host, port), `unix` (path) or `fd` (an inherited descriptor)."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1


def parse_bind(text: str) -> Place:
    """The place of `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/app.sock` or `fd:3`; ValueError says what is allowed."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest and "\0" not in rest:
        return Place("unix", path=rest)
    if kind == "fd" and rest.isdecimal() and int(rest) < 2**20:
        return Place("fd", fd=int(rest))
    match = _HOST_PORT.fullmatch(text)
    if match is None or kind in ("unix", "fd") or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is no place to listen; {HELP}")
    return Place("tcp", host=match["ipv6"] or match["host"], port=int(match["port"]))
