import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5m", 90),
        ("2d", 172800),
        ("10", 10),
        (" 5s ", 5),
        (30, 30),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_duration_is_read_as_people_write_it(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    ["", " ", "s", "10 parsecs", "-1s", "-1", "nan", "inf", "1e400", "1h-5m", "3sx", True, None, [], -1, 10**400, 1e10],
)
def test_duration_that_is_none_is_refused_with_what_is_allowed(value):
    with pytest.raises(ValueError, match="is no duration; allowed: "):
        parse_duration(value)


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]))
def test_duration_of_any_number_and_unit_is_their_product(number, unit):
    name, factor = unit
    if number * factor < 10**9:
        assert parse_duration(f"{number}{name}") == pytest.approx(number * factor)


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_duration_parser_returns_seconds_or_says_what_is_allowed(value):
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        told = str(error)
    else:
        told = "allowed" if 0 <= seconds < 10**9 else repr(seconds)
    assert "allowed" in told


@given(st.floats(0.02, 10**8))
def test_duration_that_was_formatted_reads_back_as_about_the_same(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512 * 10**6),
        ("512MiB", 512 * 2**20),
        ("512M", 512 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("64kb", 64_000),
        ("100 B", 100),
        ("1048576", 1048576),
        (4096, 4096),
        (0, 0),
    ],
)
def test_size_is_read_as_people_write_it(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value", ["", "MB", "-1", -1, "1.5", "12 potatoes", "²", "9" * 400 + "GB", 2**63, 1.5, True, None, "1e3MB"]
)
def test_size_that_is_none_is_refused_with_what_is_allowed(value):
    with pytest.raises(ValueError, match="is no size; allowed: "):
        parse_size(value)


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_size_parser_returns_bytes_or_says_what_is_allowed(value):
    try:
        size = parse_size(value)
    except ValueError as error:
        told = str(error)
    else:
        told = "allowed" if 0 <= size < 2**63 else repr(size)
    assert "allowed" in told


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (64_000, "64.0 kB"), (512_000_000, "512 MB"), (2 * 10**12, "2.0 TB")]
)
def test_size_is_written_with_three_figures(size, text):
    assert format_size(size) == text
