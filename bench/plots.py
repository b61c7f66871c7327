"""Bar charts as SVG, drawn by hand: no library, and readable on a light and on a dark page."""

from html import escape
from typing import Any

from bench.peers import FAIRLEAD

_WIDTH, _LABEL, _VALUE, _BAR, _TOP = 720, 220, 110, 26, 44
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px }
  .ours { fill: #0969da } .peer { fill: #8c959f } .spread { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .ours { fill: #4493f8 } .peer { fill: #656d76 } .spread { stroke: #e6edf3 }
  }
"""


def bars(row: dict[str, Any], metric: dict[str, Any]) -> str | None:
    """One bar a server with its figure, and a line from its smallest to its largest run; None when nothing was measured."""
    found = {name: server["metrics"].get(metric["key"]) for name, server in row["servers"].items()}
    measured = [(name, values) for name, values in found.items() if values]
    if not measured:
        return None
    largest = max(max(values["figure"], values["high"]) for _name, values in measured) or 1.0
    scale = (_WIDTH - _LABEL - _VALUE) / largest
    height = _TOP + _BAR * len(measured) + 10
    direction = "more is better" if metric["higher_is_better"] else "less is better"
    title = escape(f"{row['title']}: {metric['title']} ({direction})")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="8" y="22">{title}</text>',
    ]
    for number, (name, values) in enumerate(measured):
        parts += _bar(_TOP + number * _BAR, name, values, scale, metric)
    return "\n".join([*parts, "</svg>\n"])


def _bar(top: int, name: str, values: dict[str, Any], scale: float, metric: dict[str, Any]) -> list[str]:
    figure, middle = values["figure"], top + _BAR / 2 - 2
    low, high = (_LABEL + scale * values[end] for end in ("low", "high"))
    kind = "ours" if name == FAIRLEAD.name else "peer"
    end = _LABEL + scale * figure
    spread = len(values["runs"]) > 1 and metric["total"] == "median"
    parts = [
        f'<text x="{_LABEL - 8}" y="{middle + 5:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{_LABEL}" y="{top}" width="{max(1.0, scale * figure):.1f}" height="{_BAR - 6}" rx="2"/>',
        f'<text x="{(max(end, high) if spread else end) + 6:.0f}" y="{middle + 5:.0f}">{figure:,.{metric["digits"]}f}</text>',
    ]
    if spread:
        parts.append(f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>')
    return parts
