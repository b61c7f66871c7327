import pytest

from fairlead.worker.http1 import response
from fairlead.worker.http1.response import STATUS_LINES, Kind, header_line, remembered_line


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ((b"Content-Length", b"5"), Kind.LENGTH),
        ((b"transfer-encoding", b"Chunked"), Kind.CHUNKED),
        ((b"transfer-encoding", b"gzip"), Kind.PLAIN),
        ((b"Connection", b"keep-alive, Close"), Kind.CLOSE),
        ((b"connection", b"upgrade"), Kind.PLAIN),
        ((b"content-type", b"Text/Event-Stream; charset=utf-8"), Kind.EVENT_STREAM),
        ((b"content-type", b"application/json"), Kind.PLAIN),
    ],
)
def test_a_header_is_known_for_what_it_means(header: tuple[bytes, bytes], kind: Kind) -> None:
    line, found, _size = header_line(header)
    assert found is kind
    assert line == header[0].lower() + b": " + header[1] + b"\r\n"


def test_a_length_is_remembered_with_its_line() -> None:
    header = (b"content-length", b"1234")
    assert header_line(header) == remembered_line(header) == (b"content-length: 1234\r\n", Kind.LENGTH, 1234)


@pytest.mark.parametrize("value", [b"-1", b"many", b""])
def test_a_length_that_is_none_is_refused_however_often(value: bytes) -> None:
    for _ in range(2):
        with pytest.raises((RuntimeError, ValueError)):
            remembered_line((b"content-length", value)) or header_line((b"content-length", value))


@pytest.mark.parametrize("name", [b"a b", b"a:b", b"a\r\nb", b"a\x00", b"a\x7f", b"(a)"])
def test_a_bad_name_is_refused_however_often(name: bytes) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Invalid HTTP header name"):
            remembered_line((name, b"x")) or header_line((name, b"x"))


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"\x00", b"\x7f"])
def test_a_bad_value_is_refused_however_often(value: bytes) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Invalid HTTP header value"):
            remembered_line((b"x", value)) or header_line((b"x", value))


def test_a_value_may_hold_a_tab_and_what_is_not_ascii() -> None:
    assert header_line((b"x", b"a\tb\xe9"))[0] == b"x: a\tb\xe9\r\n"


def test_lines_are_remembered_but_not_without_end() -> None:
    assert header_line((b"x-known", b"1")) == remembered_line((b"x-known", b"1"))
    header_line((b"x-long", b"1" * 1000))
    assert remembered_line((b"x-long", b"1" * 1000)) is None
    for number in range(5000):
        header_line((b"x-number", b"%d" % number))
    assert len(response._lines) <= 2048


def test_every_status_has_a_line() -> None:
    assert STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
    assert STATUS_LINES[599] == b"HTTP/1.1 599 \r\n"


def test_head_is_remembered_once_its_headers_are_known_and_costs_one_look_up() -> None:
    headers = [(b"content-length", b"7"), (b"x-head", b"a")]
    response.remember_head(200, headers, [header_line(header)[0] for header in headers], 7)
    assert response.remembered_head((200, *headers)) == (
        b"HTTP/1.1 200 OK\r\n",
        b"content-length: 7\r\nx-head: a\r\n\r\n",
        7,
    )
    assert response.remembered_head((404, *headers)) is None
    for number in range(3000):
        response.remember_head(200, [(b"x-unique", str(number).encode())], [], 0)
    assert len(response._heads) <= response._CACHED_LINES
