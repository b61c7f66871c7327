"""Writes what the README and docs say of the figures, from bench/results/latest.json: `scripts/bench --publish`."""

import json
from pathlib import Path
from typing import Any

from bench import peers_page, plots, report, standing
from bench.errors import BenchError
from bench.machine import BUSY
from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, HYPERCORN, NGINX, UVICORN

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
MEASURED = ROOT / "docs" / "reference" / "measured.md"
PEERS = ROOT / "docs" / "reference" / "peers.md"
_BEGIN, _END = "<!-- bench: made by scripts/bench --publish -->\n", "<!-- bench: end -->"
_MADE = "<!-- Made by `scripts/bench --publish`. Change what is measured, or how it is told, in bench/. -->\n"
_COLUMNS = (FAIRLEAD, UVICORN, GUNICORN, GRANIAN, HYPERCORN, NGINX)
_PICTURED = (
    ("http-keepalive", "rate", "HTTP, requests/s"),
    ("https-keepalive", "rate", "HTTPS, requests/s"),
    ("lost-reload", "lost", "Requests lost in a reload"),
    ("memory", "fresh", "4 workers, 512 MB table: MB"),
)
_HEADLINES = (
    ("http-keepalive", "rate", "HTTP, keep-alive: requests/s"),
    ("http-keepalive", "p99_ms", "same: p99, ms"),
    ("http-keepalive", "cpu_us", "same: server CPU a request, µs"),
    ("shop-keepalive", "rate", "the shop, a page of 20 products: requests/s"),
    ("http-newconn", "rate", "HTTP, new connections/s"),
    ("https-keepalive", "rate", "HTTPS, keep-alive: requests/s"),
    ("https-newconn", "rate", "HTTPS, new connections/s"),
    ("evenness", "worst", "busiest of 4 workers, × the mean"),
    ("lost-reload", "lost", "requests lost in a reload"),
    ("lost-kill", "lost", "requests that others lose when a worker is killed"),
    ("memory", "fresh", "memory of 4 workers with a 512 MB table, MB"),
    ("recovery", "again", "first response of those, s"),
    ("recovery", "replace_ms", "kill -9 to replacement, ms"),
    ("recovery", "new_code", "new code taken in, s"),
    ("rest", "pss", "supervisor at rest, MB"),
    ("idle-http", "each_kb", "an idle connection, kB"),
)
_LEGEND = (
    "Where a peer is ahead of Fairlead (of several, the one that is most). `1.06 × ours (1.03–1.10)` is its figure over "
    "ours in the same round: the median of the rounds, the smallest and the largest."
)


def write() -> list[Path]:
    """Brings README, docs and pictures up to date; the paths of those that have changed."""
    changed = [path for path, text in texts(load(), README.read_text()).items() if not _says(path, text)]
    for path in changed:
        path.write_text(texts(load(), README.read_text())[path])
    return changed


def load() -> report.Document:
    """The published results."""
    path = RESULTS / "latest.json"
    try:
        document: report.Document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot publish: {path.relative_to(ROOT)} cannot be read: {error}") from error
    return document


def texts(document: report.Document, readme: str) -> dict[Path, str]:
    """All published files."""
    pictures = {RESULTS / name: text for name, text in report.pictures(document).items()}
    overview = plots.overview([panel for panel in (_panel(document, which) for which in _PICTURED) if panel])
    if overview:
        pictures[RESULTS / "overview.svg"] = overview
    return {
        **pictures,
        RESULTS / "latest.md": report.as_markdown(document),
        README: _between_marks(readme, summary(document, bool(overview))),
        MEASURED: _MADE + "\n" + report.as_markdown(document, pictures="../../bench/results/"),
        PEERS: _MADE + "\n" + peers_page.text(),
    }


def summary(document: report.Document, picture: bool) -> str:
    """The README's part: picture, table, and where a peer is ahead."""
    lines = ["![Fairlead beside its peers](bench/results/overview.svg)", ""] if picture else []
    lines += [*_table(document), "", _circumstances(document), "", *_ahead(document), ""]
    return "\n".join(lines)


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _between_marks(readme: str, text: str) -> str:
    before, begin, rest = readme.partition(_BEGIN)
    _old, end, after = rest.partition(_END)
    if not (begin and end):
        raise BenchError(f"cannot publish: README.md has no lines {_BEGIN.strip()!r} and {_END!r}")
    return before + begin + text + end + after


def _find(document: report.Document, row: str, metric: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    for one in document["rows"]:
        if one["name"] == row:
            return one, next(other for other in one["metrics"] if other["key"] == metric)
    return None


def _panel(document: report.Document, which: tuple[str, str, str]) -> plots.Panel | None:
    found = _find(document, which[0], which[1])
    return (*found, which[2]) if found else None


def _table(document: report.Document) -> list[str]:
    lines = ["| | " + " | ".join(server.name for server in _COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    lines[1] = "|---|" + "---:|" * len(_COLUMNS)
    for row, metric, label in _HEADLINES:
        if found := _find(document, row, metric):
            lines.append(f"| {label} | " + " | ".join(_cell(*found, server.name) for server in _COLUMNS) + " |")
    return lines


def _cell(row: dict[str, Any], metric: dict[str, Any], name: str) -> str:
    server = row["servers"].get(name)
    if server is None:
        return ""
    found = server["metrics"].get(metric["key"])
    if not found:
        return "failed" if server["failures"] else "–"
    text = standing.shown(found, metric)
    return f"**{text}**" if name in standing.best(row, metric) else text


def _circumstances(document: report.Document) -> str:
    machine, share = document["machine"], document["others_share"]["median"]
    parts = [
        f"Measured on {machine['date'][:10]}",
        f"{machine['cpu']}, {machine['memory']}",
        f"commit {machine['commit']}",
    ]
    text = (
        "; ".join(parts)
        + ". Bold: the best, and what is even with it. Medians of runs that took turns; the spread, the versions and "
        "all rows are in "
    )
    text += "[Measured](docs/reference/measured.md), the command lines in [Peers](docs/reference/peers.md)."
    if document["quick"]:
        text += " **A quick look (`--quick`): few and short rounds, smaller sizes.**"
    if share > BUSY:
        text += f" **The machine was busy: others used {share:.0%} of it meanwhile. Measure again: even the ratios are off.**"
    return text


def _ahead(document: report.Document) -> list[str]:
    found = standing.standings(document)
    ahead, even = ([one for one in found if one.even is which] for which in (False, True))
    lines = [_LEGEND, "", *_by_row(ahead)] if ahead else ["No peer was ahead of Fairlead on any row."]
    if even:
        lines += ["", "Even: here a peer's median is the better one, but the rounds do not agree on it.", ""]
        lines += _by_row(even)
    return lines


def _by_row(found: list[standing.Standing]) -> list[str]:
    return [
        f"- {row}: " + "; ".join(f"{one.metric}: {one.peer} {one.told}" for one in found if one.row == row)
        for row in dict.fromkeys(one.row for one in found)
    ]
