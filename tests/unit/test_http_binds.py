import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.http.binds import Place, parse_bind


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8000", Place("tcp", host="127.0.0.1", port=8000)),
        ("localhost:0", Place("tcp", host="localhost", port=0)),
        ("[::1]:65535", Place("tcp", host="::1", port=65535)),
        ("[::]:80", Place("tcp", host="::", port=80)),
        ("[fe80::1%eth0]:80", Place("tcp", host="fe80::1%eth0", port=80)),
        ("unix:/run/app.sock", Place("unix", path="/run/app.sock")),
        ("unix:a:b.sock", Place("unix", path="a:b.sock")),
        ("fd:3", Place("fd", fd=3)),
    ],
)
def test_place_is_read_as_people_write_it(text, place):
    assert parse_bind(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "8000", ":8000", "host", "host:", "host:99999", "host:x", "::1:80", "[::1]", "unix:", "fd:", "fd:x", "fd:-1",
     "unix:a\0b", "http://host:80", "host:80/", " host:80", "fd:99999999999", "[]:80"],
)  # fmt: skip
def test_what_is_no_place_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match="is no place to listen; allowed: "):
        parse_bind(text)


@given(st.text())
def test_any_text_is_a_place_or_refused(text):
    try:
        place = parse_bind(text)
    except ValueError as error:
        told = str(error)
    else:
        told = f"allowed: {text}" if place.kind in ("tcp", "unix", "fd") else ""
    assert "allowed: " in told
