"""How certificates look in `fairlead certs` and `fairlead status`."""

import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fairlead.units import format_duration

_STYLES = {"valid": "green", "renewing": "green", "missing": "yellow", "failing": "yellow"}
_MINUTE = 60.0


def render_certificates(certificates: list[dict[str, Any]], now: float | None = None) -> RenderableType:
    """A table, and below it what went wrong last. `now`: seconds since the epoch."""
    now = time.time() if now is None else now
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("certificate", "state", "expires", "renewal", "from"):
        # Names may break anywhere where there is no room; a state or a time would be no word any more.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("state", "expires", "renewal"))
    parts: list[RenderableType] = [table]
    for one in certificates:
        names = ", ".join(one["names"]) or "(from files)"
        state = Text(one["state"], style=_STYLES.get(one["state"], "red"))
        table.add_row(names, state, _in(one["not_after"], now), _in(one["next_attempt"], now), _origin(one))
        if one["last_error"]:
            parts.append(Text(f"{names}: {one['last_error']}", style="red"))
    return Group(*parts)


def end_line(end: dict[str, Any]) -> str:
    """`a.test: obtained, valid until 2026-11-23 07:00 UTC`."""
    line = f"{', '.join(end['names'])}: {end['outcome']}"
    if end["outcome"] == "unchanged":
        line += ", because it is not due (--force renews all the same)"
    if end["not_after"] and end["outcome"] != "revoked":
        line += f", valid until {datetime.fromtimestamp(end['not_after'], UTC):%Y-%m-%d %H:%M} UTC"
    return line


def _in(moment: float | None, now: float) -> str:
    """`in 29 d`; to the minute, because nobody waits for the second."""
    if moment is None:
        return "–"
    left = moment - now
    if left < 0:
        return f"{_rough(-left)} ago"
    return f"in {_rough(left)}" if left >= 1 else "now"


def _rough(seconds: float) -> str:
    for size in (86400.0, 3600.0, _MINUTE):
        if seconds >= 2 * size:
            return format_duration(seconds // size * size)
    return format_duration(float(int(seconds)))


def _origin(certificate: dict[str, Any]) -> str:
    issuer, source = certificate["issuer"], certificate["source"]
    return f"{issuer} ({source})" if issuer and source == "files" else issuer or source
