"""Bar charts as SVG, drawn by hand: no library, and readable on a light and on a dark page.

Each stands on a card of its own colour, because an image on a page cannot know the page's: it follows the reader's
system, and stays readable where the two differ.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from bench.peers import FAIRLEAD
from bench.standing import level_of, shown

Panel = tuple[dict[str, Any], dict[str, Any], str]
"""A row and one of its metrics, as the document has them, and a title."""

_WIDTH, _LABEL, _VALUE, _BAR, _TOP, _END = 720, 190, 90, 26, 46, 12
_STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .own { font-weight: 600 } .quiet { fill: #59636e; font-size: 12px }
  .ours { fill: #0969da } .peer { fill: #8c959f } .spread { stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .ours { fill: #4493f8 } .peer { fill: #656c76 } .spread { stroke: #f0f6fc }
  }
"""


def bars(row: dict[str, Any], metric: dict[str, Any]) -> str | None:
    """One bar a server with its figure, and a line from its smallest to its largest run; None when nothing was measured."""
    return overview([(row, metric, metric["title"])], columns=1)


def overview(panels: Sequence[Panel], columns: int = 2) -> str | None:
    """Several charts on one card; those of which nothing was measured are left out, None when that is all."""
    shown = [panel for panel in panels if _measured(panel)]
    if not shown:
        return None
    lines = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    heights = [max(_TOP + _BAR * len(_measured(panel)) for panel in line) + _END for line in lines]
    wide = _WIDTH if columns == 1 else 500
    label = " · ".join(title for _row, _metric, title in shown)
    width, height = wide * columns, sum(heights)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
    ]
    for number, line in enumerate(lines):
        for place, panel in enumerate(line):
            parts.append(f'<g transform="translate({place * wide} {sum(heights[:number])})">')
            parts += [*_panel(panel, wide), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _measured(panel: Panel) -> list[tuple[str, dict[str, Any]]]:
    row, metric, _title = panel
    found = ((name, server["metrics"].get(metric["key"])) for name, server in row["servers"].items())
    return [(name, values) for name, values in found if values]


def _panel(panel: Panel, wide: int) -> list[str]:
    _row, metric, title = panel
    measured = _measured(panel)
    largest = max(max(level_of(values, metric), values["high"]) for _name, values in measured) or 1.0
    scale = (wide - _LABEL - _VALUE) / largest
    direction = "more is better" if metric["higher_is_better"] else "less is better"
    parts = [f'<text class="title" x="14" y="26">{escape(title)} <tspan class="quiet">({direction})</tspan></text>']
    for number, (name, values) in enumerate(measured):
        parts += _bar(_TOP + number * _BAR, name, values, scale, metric)
    return parts


def _bar(top: int, name: str, values: dict[str, Any], scale: float, metric: dict[str, Any]) -> list[str]:
    figure, middle = level_of(values, metric), top + _BAR / 2 - 3
    low, high = (_LABEL + scale * values[end] for end in ("low", "high"))
    bar, text = ("ours", "own") if name == FAIRLEAD.name else ("peer", "")
    end = _LABEL + scale * figure
    spread = len(values["runs"]) > 1 and metric["total"] == "median"
    beside = (max(end, high) if spread else end) + 6
    length = f'width="{max(1.0, scale * figure):.1f}" height="{_BAR - 6}"'
    parts = [
        f'<text class="{text}" x="{_LABEL - 8}" y="{middle + 5:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{bar}" x="{_LABEL}" y="{top}" {length} rx="2"/>',
        f'<text class="{text}" x="{beside:.0f}" y="{middle + 5:.0f}">{shown(values, metric)}</text>',
    ]
    if spread:
        parts.append(f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>')
    return parts
