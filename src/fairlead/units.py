"""Durations and sizes as people write them: `30s`, `1h30m`, `250ms`, `512MB`, `1.5GiB`."""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_LONGEST_SIZE = 40


def parse_duration(value: object) -> float:
    """Seconds of `30`, `"30s"`, `"1h30m"` or `"250ms"`; ValueError says what is allowed."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Compared before it becomes a float: 10**400 cannot.
        seconds = float(value) if -1 < value < 10**9 else -1.0
    elif isinstance(value, str) and value.strip():
        seconds = _parse_duration_text(value.strip())
    else:
        raise ValueError(_duration_help(value))
    if not 0 <= seconds < 10**9:
        raise ValueError(_duration_help(value))
    return seconds


def _parse_duration_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    position, total = 0, 0.0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise ValueError(_duration_help(text))
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    return total


def _duration_help(value: object) -> str:
    return f"{value!r} is no duration; allowed: seconds as a number, or text such as 250ms, 30s, 10m, 1h30m"


def parse_size(value: object) -> int:
    """Bytes of `1048576`, `"512MB"` (decimal), `"512MiB"` or `"512M"` (binary); ValueError says what is allowed."""
    help_text = f"{value!r} is no size; allowed: bytes as a number, or text such as 64KB, 512MB, 1.5GiB"
    if isinstance(value, str) and len(value) <= _LONGEST_SIZE:
        value = _parse_size_text(value.strip())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise ValueError(help_text)


def _parse_size_text(text: str) -> int | None:
    if text.isdecimal():
        return int(text)
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in _BYTES:
        return None
    return int(float(match[1]) * _BYTES[match[2].upper()])


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as about the same: `250ms`, `30s`, `1h30m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    parts, rest = [], round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_size(size: int) -> str:
    """`512 B`, `64.0 kB`, `1.2 GB`: decimal units, three figures."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
