"""Requests that differ from the one before on their connection by the request line alone.

Most clients that keep a connection send the same headers with each request. The bytes that were parsed once are not
parsed again: whoever sends them again means the same by them. That holds for a request without a body that came in one
piece, by itself, and where the parser stands between two messages.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.worker.http1.exchange import Exchange

FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
"""Headers of proxies that change the scope."""
_END = b"\r\n\r\n"
_LONGEST = 4096
"""Bytes of a request that are looked at: a connection that idles keeps them."""

request_line = re.compile(rb"(GET|HEAD|DELETE|OPTIONS) (/[A-Za-z0-9/_.~!$&'()*+,;=:@%?-]*) HTTP/1\.1").fullmatch
"""`request_line(data, 0, end)`: the method and the target, of the plainest kind. Any other line is the parser's."""


class RepeatedHead:
    """What the parser made of `block`, which is everything behind the request line: the line's end, the headers, the empty line."""

    __slots__ = ("block", "forwarded", "headers")

    def __init__(self, block: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.block = block
        self.headers = headers
        self.forwarded = any(name in FORWARDED for name, _ in headers)


def block_of(data: bytes) -> bytes:
    """What may be such a block: of a piece that ends like a head."""
    if len(data) > _LONGEST or not data.endswith(_END):
        return b""
    return data[data.find(b"\r\n") :]


def learn(data: bytes, block: bytes, exchange: "Exchange") -> RepeatedHead | None:
    """`data` was parsed into this request, from one message's end to the next one's. None where the headers are not all that
    makes the request what it is, or where they are not written line by line."""
    if exchange.more_body or exchange.expects_continue or not exchange.keep_alive:
        return None
    headers = exchange.scope["headers"]
    if any(name == b"upgrade" for name, _ in headers):
        return None  # whether such a wish is granted is no matter of the headers alone
    lines = len(headers) + 2
    whole = (
        request_line(data, 0, len(data) - len(block)) is not None
        and data.find(_END) == len(data) - len(_END)
        and data.count(b"\n") == data.count(b"\r\n") == lines
    )
    return RepeatedHead(block, headers.copy()) if whole else None
