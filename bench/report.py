"""What a run found, as JSON (everything), as Markdown (for people) and as pictures."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import plots, rounds
from bench.machine import BUSY
from bench.peers import FAIRLEAD
from bench.row import Against, Aim, RowResult, Total

Document = dict[str, Any]
"""The results as plain data; its form is what `as_json` says."""


def as_json(
    results: Sequence[RowResult], machine: Mapping[str, str], versions: Mapping[str, Mapping[str, str]], quick: bool
) -> Document:
    """All figures, with every single run."""
    foreign = [share for result in results for share in result.foreign]
    return {
        "machine": dict(machine),
        "versions": {name: dict(packages) for name, packages in versions.items()},
        "quick": quick,
        "others_share": {"median": statistics.median(foreign), "worst": max(foreign), "busy_above": BUSY},
        "rows": [_row(result, quick) for result in results],
    }


def _row(result: RowResult, quick: bool) -> Document:
    row = result.row
    return {
        "name": row.name,
        "title": row.title,
        "how": row.how,
        "reference": row.reference.name if row.reference else None,
        "others_share": statistics.median(result.foreign),
        "rounds": max((len(taken) for taken in result.samples.values()), default=0),
        "metrics": [asdict(metric) for metric in row.metrics],
        "servers": {name: _server(result, name) for name in result.samples},
        "aims": [_aim(result, aim) for aim in row.aims if not (quick and aim.full_only)],
    }


def _server(result: RowResult, name: str) -> Document:
    found: Document = {}
    for metric in result.row.metrics:
        if summary := rounds.summary(result, name, metric.key):
            found[metric.key] = {
                "figure": rounds.figure(result, name, metric.key),
                "low": summary.low,
                "high": summary.high,
                "to_fairlead": rounds.ratio(result, name, FAIRLEAD.name, metric.key),
                "runs": rounds.values(result, name, metric.key),
                "rounds": rounds.by_round(result, name, metric.key),
            }
    samples = [sample for sample in result.samples[name] if sample]
    notes = list(dict.fromkeys(note for sample in samples for note in sample.notes))
    return {"metrics": found, "notes": notes, "failures": result.failures.get(name, [])}


def _aim(result: RowResult, aim: Aim) -> Document:
    found, reached = rounds.reached(result, aim, FAIRLEAD.name)
    against = f" ({aim.against})" if aim.against is Against.PEER else ""
    sign = "≥" if aim.at_least else "≤"
    return {"text": f"{aim.text} {sign} {aim.limit:g}{against}", "found": found, "reached": reached}


def exit_code(document: Document) -> int:
    """1 when Fairlead has missed an aim, or could not be measured."""
    rows = document["rows"]
    missed = any(aim["reached"] is False for row in rows for aim in row["aims"])
    failed = any(row["servers"].get(FAIRLEAD.name, {}).get("failures") for row in rows)
    return int(missed or failed)


def write(document: Document, folder: Path) -> list[Path]:
    """Writes latest.json, latest.md and a picture for each plotted metric; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / "latest.json": _dump(document), folder / "latest.md": as_markdown(document)}
    files |= {folder / name: picture for name, picture in pictures(document).items()}
    for path, text in files.items():
        path.write_text(text)
    return list(files)


def pictures(document: Document) -> dict[str, str]:
    """A picture for each plotted metric of which something was measured, by file name."""
    drawn = {
        _picture_of(row, metric): plots.bars(row, metric)
        for row in document["rows"]
        for metric in row["metrics"]
        if metric["plot"]
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _picture_of(row: Document, metric: Document) -> str:
    return f"{row['name']}-{metric['key']}.svg"


def as_markdown(document: Document, pictures: str = "") -> str:
    """The tables, the aims, and what a reader must know about the run. `pictures`: where they are, seen from the page."""
    lines = ["# Fairlead beside what people use today", "", *_about(document)]
    for row in document["rows"]:
        rounds_ = f"{row['rounds']} round" + ("s" if row["rounds"] != 1 else "")
        lines += ["", f"## {row['title']}", "", f"`scripts/bench {row['name']}` ({rounds_}) — {row['how']}", ""]
        lines += [*_table(row), *_notes(row), *_pictures(row, pictures)]
        if row["others_share"] > BUSY:
            lines += ["", f"**Busy machine: others used {row['others_share']:.0%} of it during this row.**"]
    return "\n".join([*lines, "", "## Must reach", "", *_aims(document), ""])


def _pictures(row: Document, folder: str) -> list[str]:
    shown = [
        metric
        for metric in row["metrics"]
        if metric["plot"] and any(metric["key"] in server["metrics"] for server in row["servers"].values())
    ]
    return [
        line
        for metric in shown
        for line in ("", f"![{row['title']}: {metric['title']}]({folder}{_picture_of(row, metric)})")
    ]


def _about(document: Document) -> list[str]:
    share = document["others_share"]
    lines = [f"- {key}: {value}" for key, value in document["machine"].items()]
    for name, packages in document["versions"].items():
        lines.append(f"- {name}: " + ", ".join(f"{package} {version}" for package, version in packages.items()))
    lines.append(f"- others used {share['median']:.0%} of the machine meanwhile (worst {share['worst']:.0%})")
    if share["median"] > BUSY:
        lines.append("- **A busy machine: measure again. Even ratios of the same round are off.**")
    if document["quick"]:
        lines.append("- a quick look: few, short rounds")
    lines.append("- median (smallest–largest run); × is the median ratio to Fairlead in the same round")
    return lines


def _table(row: Document) -> list[str]:
    titles = [metric["title"] for metric in row["metrics"]]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name, server in row["servers"].items():
        gap = "failed" if server["failures"] and not server["metrics"] else "–"
        cells = [_cell(server["metrics"].get(metric["key"]), metric, name, gap) for metric in row["metrics"]]
        shown = f"**{name}**" if name == FAIRLEAD.name else name
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return lines


def _cell(found: Document | None, metric: Document, name: str, gap: str) -> str:
    if found is None:
        return gap
    digits = metric["digits"]
    text = f"{found['figure']:,.{digits}f}"
    if metric["total"] == Total.SUM:
        return text
    if len(found["runs"]) > 1:
        text += f" ({found['low']:,.{digits}f}–{found['high']:,.{digits}f})"
    if name != FAIRLEAD.name and found["to_fairlead"] is not None and metric["plot"]:
        text += f" {found['to_fairlead']:.2f}×"
    return text


def _notes(row: Document) -> list[str]:
    lines: list[str] = []
    for name, server in row["servers"].items():
        lines += [f"- {name}: {note}" for note in server["notes"]]
        lines += [f"- {name} could not be measured: {failure}" for failure in dict.fromkeys(server["failures"])]
    return ["", *lines] if lines else []


def _aims(document: Document) -> list[str]:
    lines = ["| | aim | found | |", "|---|---|---:|---|"]
    for row in document["rows"]:
        for aim in row["aims"]:
            found = (
                "–"
                if aim["found"] is None
                else f"{aim['found']:,.3g}"
                if aim["found"] < 1000
                else f"{aim['found']:,.0f}"
            )
            verdict = {True: "reached", False: "**missed**", None: "not measured"}[aim["reached"]]
            lines.append(f"| {row['name']} | {aim['text']} | {found} | {verdict} |")
    return lines


def _dump(document: Document) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
