"""The command behind scripts/bench."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import machine, report, rounds
from bench.peers import FAIRLEAD, FRONTS, SERVERS, Server
from bench.processes import adopt_orphans
from bench.row import Row, RowResult
from bench.rows import ROWS
from bench.session import Session, session

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; 1 when an aim was measured and not reached, or a measurement of Fairlead failed."""
    given = _parse(arguments)
    if given.list:
        print("\n".join(f"{row.name:16} {row.title}" for row in ROWS))
        return 0
    adopt_orphans()
    rows = [row for row in ROWS if not given.rows or row.name in given.rows]
    begin, facts = time.monotonic(), machine.describe()
    with session(given.quick) as run:
        servers = [server for server in (*SERVERS, *FRONTS) if any(server in _servers(row, given) for row in rows)]
        versions = {server.name: run.versions(server) for server in servers}
        results = [_run_row(row, run, given) for row in rows]
    facts["took"] = f"{time.monotonic() - begin:.0f} s"
    document = report.as_json(results, facts, versions, given.quick)
    folder = given.out or RESULTS / "local"
    for path in report.write(document, folder, given.json):
        print(f"wrote {path}", file=sys.stderr)
    print(report.as_markdown(document))
    return report.exit_code(document)


def _run_row(row: Row, run: Session, given: argparse.Namespace) -> RowResult:
    count = given.rounds or min(row.quick_rounds if given.quick else 5, row.most_rounds)
    return rounds.run(row, run, _servers(row, given), count)


def _servers(row: Row, given: argparse.Namespace) -> tuple[Server, ...]:
    servers = (row.quick_servers or row.servers) if given.quick else row.servers
    return tuple(server for server in servers if not given.servers or server.name in (FAIRLEAD.name, *given.servers))


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
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--out", type=Path, help="folder of the results (default bench/results/local)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    given = parser.parse_args(arguments)
    if unknown := set(given.rows) - {row.name for row in ROWS}:
        parser.error(f"no row {min(unknown)!r}; there are: {', '.join(row.name for row in ROWS)}")
    if unknown := set(given.servers or ()) - {server.name for server in (*SERVERS, *FRONTS)}:
        parser.error(
            f"no server {min(unknown)!r}; there are: {', '.join(server.name for server in (*SERVERS, *FRONTS))}"
        )
    return given


if __name__ == "__main__":
    sys.exit(main())
