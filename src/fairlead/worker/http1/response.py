"""Rendering of response heads. Pure: bytes in, bytes out."""

import re
from enum import IntEnum
from http import HTTPStatus
from typing import Any

_BAD_NAME = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\\[\]={}"]')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CACHED_LINES = 2048
_LONGEST_CACHED = 80


class Kind(IntEnum):
    """What a response header means to the server."""

    PLAIN = 0
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3
    EVENT_STREAM = 4


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def plain_answer(status: int, block: bytes, text: bytes, extra: bytes = b"") -> bytes:
    """A whole answer of the server itself, after which it closes. `block` and `extra` are header lines."""
    lines = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    return STATUS_LINES[status] + block + extra + lines % (len(text), text)


_lines: dict[tuple[bytes, bytes], tuple[bytes, Kind, int]] = {}


def header_line(header: Any) -> tuple[bytes, Kind, int]:
    """A header (a pair of bytes, or of what is like them) as its line, its meaning and the length that it announces;
    RuntimeError when it would break the head.

    Most responses of an app carry the same few headers: their lines are remembered, so that checking them costs a
    look-up.
    """
    given, told = header
    if _BAD_NAME.search(given):
        raise RuntimeError("Invalid HTTP header name.")
    if _BAD_VALUE.search(told):
        raise RuntimeError("Invalid HTTP header value.")
    name, value = bytes(given), bytes(told)
    key = name, value
    name = name.lower()
    kind = _kind(name, value)
    answer = b"%b: %b\r\n" % (name, value), kind, _size(value) if kind is Kind.LENGTH else 0
    if len(value) <= _LONGEST_CACHED:
        if len(_lines) >= _CACHED_LINES:
            _lines.clear()
        _lines[key] = answer
    return answer


def _kind(name: bytes, value: bytes) -> Kind:
    if name == b"content-length":
        return Kind.LENGTH
    if name == b"transfer-encoding" and value.lower() == b"chunked":
        return Kind.CHUNKED
    if name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
        return Kind.CLOSE
    if name == b"content-type" and value[:17].lower() == b"text/event-stream":
        return Kind.EVENT_STREAM
    return Kind.PLAIN


def _size(value: bytes) -> int:
    size = int(value)
    if size < 0:
        raise RuntimeError("Invalid Content-Length")
    return size


_heads: dict[tuple[Any, ...], tuple[bytes, bytes, int]] = {}


def remember_head(status: int, headers: list[Any], lines: list[bytes], length: int) -> None:
    """`headers`, as `lines`, are all that a head says, and `length` is the body's: the next such head costs one look-up.

    For headers that have come before, each of them: what is new each time would only push the others out.
    """
    if len(_heads) >= _CACHED_LINES:
        _heads.clear()
    _heads[status, *headers] = STATUS_LINES[status], b"".join(lines) + b"\r\n", length


remembered_head = _heads.get
"""`remembered_head((status, *headers))`: its first line, what comes behind the server's own headers, and the body's length;
or None. TypeError when a header is a list."""
remembered_line = _lines.get
"""`remembered_line(header)`: what `header_line` returned for it, or None. TypeError when the header is a list."""
