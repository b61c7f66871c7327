"""The command behind scripts/bench."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import budget, machine, publish, report, rounds
from bench.errors import BenchError
from bench.peers import EVERYBODY, FAIRLEAD, Server
from bench.processes import adopt_orphans
from bench.row import Row, RowResult
from bench.rows import ROWS
from bench.session import Session, session

_LOCAL = publish.RESULTS / "local"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; 1 when an aim was measured and not reached, or a measurement of Fairlead failed."""
    given = _parse(arguments)
    if given.list:
        print("\n".join(f"{row.name:16} {row.title}" for row in ROWS))
        return 0
    if given.publish:
        return _publish()
    adopt_orphans()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM")
    )  # through every `finally`: no server is left behind
    chosen = plans(given.quick, given.rows, given.servers or (), given.rounds)
    with session(given.quick) as run:
        document = _measure(chosen, run, given)
    print(report.as_markdown(document))
    if given.write:
        report.write(document, publish.RESULTS)
        if _publish():
            return 1
    return report.exit_code(document)


def _measure(chosen: tuple[budget.Plan, ...], run: Session, given: argparse.Namespace) -> report.Document:
    """All rows. What is there is written after each, so that a run that is broken off has not been in vain."""
    facts = machine.describe()
    versions = {server.name: run.versions(server) for server in _asked_for(chosen)}
    progress = budget.Progress(chosen)  # installing is not measured time
    _say(progress.headline())
    results: list[RowResult] = []
    for number in range(len(chosen)):
        plan = progress.fitting(number, given.minutes * 60)
        _say(progress.before(number, plan))
        results.append(rounds.run(plan, run, [server for server in EVERYBODY if server.name in plan.servers]))
        facts["took"] = f"{budget.clock(progress.elapsed())} minutes"
        document = report.as_json(results, facts, versions, given.quick)
        paths = report.write(document, given.out or _LOCAL)
    _say(f"[{budget.clock(progress.elapsed())}] done; the results are in {paths[0].parent}")
    return document


def _asked_for(chosen: Sequence[budget.Plan]) -> list[Server]:
    names = {name for plan in chosen for name in plan.servers}
    return [server for server in EVERYBODY if server.name in names]


def plans(
    quick: bool, rows: Sequence[str] = (), servers: Sequence[str] = (), count: int | None = None
) -> tuple[budget.Plan, ...]:
    """What a run does: of the named rows, or all, with the named peers, or all; `count`: rounds of every row."""
    chosen = [row for row in ROWS if (row.name in rows if rows else row.quick_rounds or not quick)]
    return tuple(_plan(row, quick, servers, count) for row in chosen)


def _plan(row: Row, quick: bool, only: Sequence[str], count: int | None) -> budget.Plan:
    servers = (row.quick_servers or row.servers) if quick else row.servers
    wanted = (server.name for server in servers if not only or server.name in (FAIRLEAD.name, *only))
    return budget.Plan(
        row, tuple(wanted), count or min(max(1, row.quick_rounds) if quick else 5, row.most_rounds), quick
    )


def _publish() -> int:
    try:
        for path in publish.write():
            _say(f"wrote {path.relative_to(publish.ROOT)}")
    except BenchError as error:
        _say(f"error: {error}")
        return 1
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure (see --list); nothing: all")
    parser.add_argument(
        "--quick", action="store_true", help="a first look in 3 minutes: fewer, shorter rounds, fewer peers"
    )
    parser.add_argument("--rounds", type=int, help="rounds of every row (default 5; with --quick 1 or 2)")
    parser.add_argument(
        "--server", action="append", dest="servers", metavar="NAME", help="only this peer beside Fairlead"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=budget.MOST / 60,
        help="rows get fewer rounds, not below 3, to end by then (default 40)",
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--out", type=Path, help="folder of the results (default bench/results/local)")
    parser.add_argument(
        "--write", action="store_true", help="also make them the published ones: bench/results, README, docs"
    )
    parser.add_argument(
        "--publish", action="store_true", help="measure nothing: README and docs again from bench/results/latest.json"
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.rows) - {row.name for row in ROWS}:
        parser.error(f"no row {min(unknown)!r}; there are: {', '.join(row.name for row in ROWS)}")
    if unknown := set(given.servers or ()) - {server.name for server in EVERYBODY}:
        parser.error(f"no server {min(unknown)!r}; there are: {', '.join(server.name for server in EVERYBODY)}")
    if given.write and (given.rows or given.servers):
        parser.error("--write publishes whole runs only: leave out ROW and --server")
    return given


if __name__ == "__main__":
    sys.exit(main())
