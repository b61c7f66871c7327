"""How `fairlead status` looks: a header, the workers, the restarts. Fits 80 columns, uses 120."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fairlead.cli.certificates_view import render_certificates
from fairlead.lean_dataclass import dataclass
from fairlead.units import format_duration

ROOMY, WIDE = 100, 120
"""Columns of the terminal from which on there is room between the columns, and for whole headings."""
RESTARTS_SHOWN = 5
HIGH_PRESSURE = 0.1
"""The share of time waited for memory from which on it is worth a look; as for `fairlead check`."""
_STATE_STYLES = {"serving": "green", "draining": "yellow", "killing": "red"}

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rates:
    """What changed between two reports that are `seconds` apart, by worker."""

    requests: dict[int, float]
    cpu: dict[int, float]

    @staticmethod
    def between(before: Report, after: Report, seconds: float) -> "Rates":
        """Requests a second and CPUs used. A worker that is new counts from its own beginning, which was since then."""
        old = {worker["worker"]: worker for worker in before["workers"]}
        nothing = {"requests": 0, "cpu_seconds": 0.0}
        pairs = [(worker["worker"], worker, old.get(worker["worker"], nothing)) for worker in after["workers"]]
        return Rates(
            {number: max(0.0, new["requests"] - was["requests"]) / seconds for number, new, was in pairs},
            {number: max(0.0, new["cpu_seconds"] - was["cpu_seconds"]) / seconds for number, new, was in pairs},
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the worker table: headings for narrow and wide, and the cell."""

    short: str
    long: str
    cell: Callable[[Report], str | Text]
    left: bool = False


def render(report: Report, width: int, rates: Rates | None = None) -> RenderableType:
    """The whole report; with `rates`, requests a second and CPU share in place of the CPU time."""
    parts: list[RenderableType] = [*_header(report, rates), Text()]
    parts.append(_worker_table(report, width, rates) if report["workers"] else Text("no workers", style="yellow"))
    if report.get("certificates"):
        parts += [Text(), render_certificates(report["certificates"])]
    parts += _companions(report)
    parts += _restarts(report)
    return Group(*parts)


def _header(report: Report, rates: Rates | None) -> Iterator[Text]:
    release = report.get("release")
    serving = f"release {release['number']} {release['state']}" if release else "no release serves yet"
    yield Text.assemble(
        (str(report["name"]), "bold"),
        (f"  {serving}", "green" if release else "yellow"),
        f" · up {format_duration(report['uptime'])} · pid {report['pid']} · fairlead {report['version']}",
    )
    yield Text(f"listening on {', '.join(report['listeners']) or 'nothing'}")
    yield Text(f"running from {report['cwd']}", style="dim")
    yield Text(_summary(report, rates))
    if memory := _memory(report):
        yield memory
    for other in report["releases"]:
        if not release or other["number"] != release["number"]:
            yield Text(f"release {other['number']} {other['state']}, {other['workers']} workers", style="dim")
    if report.get("operation"):
        yield Text(f"under way: {report['operation']}", style="cyan")
    if report.get("last_failure"):
        yield Text(f"last failure: {report['last_failure']}", style="red")


def _summary(report: Report, rates: Rates | None) -> str:
    serving = sum(worker["state"] == "serving" for worker in report["workers"])
    parts = [f"{serving} of {report['target_workers']} workers serve"]
    if rates:
        parts.append(f"{sum(rates.requests.values()):.0f} requests/s")
        parts.append(f"{sum(rates.cpu.values()):.0%} CPU")
    memory = report["memory"]
    if memory["total_pss"] is not None:
        parts.append(f"{_size(memory['total_pss'])} in all, {_size(memory['supervisor_pss'])} of it the supervisor")
    return " · ".join(parts)


def _memory(report: Report) -> Text | None:
    """The budget, the cgroup and the pressure, as far as there are any."""
    parts, budget, cgroup = [], report.get("memory_budget") or {}, report["memory"].get("cgroup")
    if budget.get("budget") and budget.get("used") is not None:
        parts.append(f"{_size(budget['used'])} of a budget of {_size(budget['budget'])}")
    if cgroup and cgroup["limit"] is not None:
        parts.append(f"cgroup {_size(cgroup['used'])} of {_size(cgroup['limit'])}")
    pressure = {key: one for key, one in (report["memory"].get("pressure") or {}).items() if one}
    if pressure:
        parts.append("pressure " + ", ".join(f"{one['some']:.0%} ({key})" for key, one in pressure.items()))
    high = any(one["some"] > HIGH_PRESSURE for one in pressure.values())
    return Text(f"memory: {' · '.join(parts)}", style="yellow" if high else "") if parts else None


def _worker_table(report: Report, width: int, rates: Rates | None) -> Table:
    wide = width >= WIDE
    table = Table(box=None, padding=(0, 2 if width >= ROOMY else 1, 0, 0), pad_edge=False, header_style="bold")
    columns = list(_columns(rates))
    for column in columns:
        table.add_column(
            column.long if wide else column.short, justify="left" if column.left else "right", no_wrap=True
        )
    for worker in report["workers"]:
        table.add_row(*(column.cell(worker) for column in columns))
    return table


def _columns(rates: Rates | None) -> Iterator[Column]:
    yield Column("pid", "pid", lambda w: _or_dash(w["pid"]))
    yield Column("rel", "release", lambda w: f"r{w['release']}", left=True)
    yield Column("state", "state", lambda w: Text(w["state"], style=_STATE_STYLES.get(w["state"], "cyan")), left=True)
    yield Column("age", "age", lambda w: _short_duration(w["age"]))
    yield Column("conn", "connections", lambda w: _count(w["connections"]))
    yield Column("busy", "in flight", lambda w: _count(w["in_flight"]))
    yield Column("reqs", "requests", lambda w: _count(w["requests"]))
    if rates:
        yield Column("r/s", "requests/s", lambda w: _count(round(rates.requests.get(w["worker"], 0.0))))
    yield Column("err", "errors", lambda w: Text(_count(w["errors"]), style="red" if w["errors"] else ""))
    if rates:
        yield Column("cpu", "cpu", lambda w: f"{rates.cpu.get(w['worker'], 0.0):.0%}")
    else:
        yield Column("cpu", "cpu", lambda w: _short_duration(w["cpu_seconds"]))
    yield Column("priv", "private", lambda w: _size(w["uss_bytes"]))
    yield Column("shared", "shared", _shared)
    yield Column(
        "beat", "heartbeat", lambda w: "–" if w["heartbeat_age"] is None else _short_duration(w["heartbeat_age"])
    )


def _shared(worker: Report) -> str:
    """What is mapped and not the worker's own alone."""
    return "–" if worker["rss_bytes"] is None else _size(worker["rss_bytes"] - worker["uss_bytes"])


def _companions(report: Report) -> Iterator[Text]:
    companions = report.get("companions")
    if not companions:
        return
    yield Text()
    yield Text("companions:", style="bold")
    for one in companions:
        style = {"running": "green", "done": "green", "failed": "red"}.get(one["state"], "yellow")
        head = f"{one['name']}/{one['replica']}  pid {_or_dash(one['pid'])}  r{one['release']}  "
        since = f"  for {format_duration(one['age'])}" if one["age"] is not None else ""
        since += f", {_size(one['uss_bytes'])} of its own" if one.get("uss_bytes") is not None else ""
        deaths = f", {one['deaths_in_a_row']} ended in a row" if one["deaths_in_a_row"] > 1 else ""
        note = f": {one['note']}" if one.get("note") else ""  # a supervisor of before says none
        yield Text.assemble(head, (one["state"], style), f"{since}{deaths}{note}")


def _restarts(report: Report) -> Iterator[Text]:
    restarts = report["restarts"][-RESTARTS_SHOWN:]
    if not restarts:
        return
    yield Text()
    yield Text(f"restarts: {report['restarts_total']}, the last ones:", style="bold")
    for restart in reversed(restarts):
        moment = datetime.fromisoformat(restart["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        who = f"companion {name}" if (name := restart.get("companion")) else f"worker {restart['worker']}"
        yield Text(f"{moment}  {who} (r{restart['release']}): {restart['reason']}")


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _count(number: int) -> str:
    """Four figures at most: 9999, 12.3k, 4.5M."""
    if number < 10_000:
        return str(number)
    return _scaled(number / 1000, "kMG")


def _short_duration(seconds: float) -> str:
    """The leading unit alone: 0.1s, 42s, 12m, 3h, 9d."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _size(size: int | None) -> str:
    """Without a space, to be narrow: 950k, 45.2M, 1.2G. Decimal units."""
    if size is None:
        return "–"
    return _scaled(size / 1000, "kMGT")


def _scaled(amount: float, units: str) -> str:
    """Three figures and a unit, the first of which `amount` is in."""
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f}{units[0]}" if amount >= 99.95 else f"{amount:.1f}{units[0]}"
