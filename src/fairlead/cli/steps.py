"""`fairlead steps`: which previous steps there are, when each last ran, and running them by hand."""

import json
import signal
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.errors import FairleadError, InputError

if TYPE_CHECKING:
    from rich.table import Table

    from fairlead.plan.model import Plan

steps = typer.Typer(help="Show the previous steps, which are due, and when each last ran.", invoke_without_command=True)

Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
]


@steps.callback()
def show(
    context: typer.Context,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the previous steps, which are due, and when each last ran."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    report = read_steps(_plan(config))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    from fairlead.cli.output import console

    console().print(_as_table(report) if report else "no previous steps are configured ([[steps]] in fairlead.toml)")
    for problem in sorted({step["problem"] for step in report if step["problem"]}):
        typer.echo(f"warning: {problem}; shown is what this host remembers", err=True)


@steps.command()
def run(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Run this one, due or not. Default: all that are due.", show_default=False),
    ] = None,
    config: Config = None,
    dry: Annotated[bool, typer.Option("--plan", help="Only say what would run.")] = False,
) -> None:
    """Run what is due, as a start would, or one step by its name."""
    from fairlead.observability.events import EventLog
    from fairlead.steps.runner import run_due

    plan = _plan(config or context.obj)
    names = [step.name for step in plan.steps]
    if name is not None and name not in names:
        raise InputError(f"cannot run step {name!r}: allowed: {', '.join(names) or 'none, there are no [[steps]]'}")
    if dry:
        known = [step for step in read_steps(plan) if name in (None, step["name"])]
        if name is None and (problem := next((step["problem"] for step in known if step["due"] is None), "")):
            raise FairleadError(f"cannot say what is due: {problem}")
        due = [step for step in known if name is not None or step["due"]]
        typer.echo("\n".join(f"{step['name']}: {' '.join(step['run'])}" for step in due) or "nothing is due")
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    ran = run_due(plan, EventLog(plan.log.format, "steps", 2, plan.log.level), lambda _text: None, name)
    typer.echo(f"ran {', '.join(ran)}" if ran else "nothing is due")


def _stop(number: int, _frame: FrameType | None) -> None:
    """The step under way ends with all that it started: what went on alone would do so without the lock."""
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _plan(config: str | None) -> "Plan":
    from fairlead.cli.planning import make_plan

    return make_plan({}, config, ())


def read_steps(plan: "Plan") -> list[dict[str, Any]]:
    """Every step, whether it is due, and its last success: on this host, or on any of those that share its database.

    `problem`: why the database could not be asked; then what this host remembers is shown, and `due` is None.
    """
    from fairlead.steps.fingerprint import fingerprint
    from fairlead.steps.policy import is_due
    from fairlead.steps.records import Records

    release, records = fingerprint(plan), Records(plan).read()
    databases = {address: _ask(address, plan.name) for address in {step.lock for step in plan.steps if step.lock}}
    report = []
    for step in plan.steps:
        own = records.get(step.name)
        shared, problem = databases.get(step.lock, ({}, ""))
        ran_for, at = (own.release, own.at) if own else (None, None)
        if step.lock and not problem:
            ran_for, at = shared.get(step.name, (None, None))
        here = own is not None and (own.release == ran_for)
        report.append(
            {
                "name": step.name,
                "run": list(step.run),
                "when": step.when,
                "shared": bool(step.lock),
                "due": None if problem and step.when == "release" else is_due(step, release, ran_for),
                "last_ran": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at is not None else None,
                "seconds": own.seconds if own and here else None,
                "problem": problem,
            }
        )
    return report


def _ask(address: str, app: str) -> tuple[dict[str, tuple[str, float]], str]:
    """What the hosts that share the database remember, or why it cannot be told."""
    from fairlead.steps.database import look_up

    try:
        return look_up(address, app), ""
    except FairleadError as error:
        return {}, str(error)


def _as_table(report: list[dict[str, Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("step", "run", "when", "due", "last ran"):
        table.add_column(heading, overflow="fold")
    styles = {True: ("yes", "yellow"), False: ("no", "green"), None: ("unknown", "red")}
    for step in report:
        due = Text(*styles[step["due"]])
        table.add_row(step["name"], " ".join(step["run"]), step["when"], due, _last_ran(step))
    return table


def _last_ran(step: dict[str, Any]) -> str:
    asked = step["shared"] and not step["problem"]
    if step["last_ran"] is None:
        return "never, on any host" if asked else "never, on this host"
    moment = datetime.fromisoformat(step["last_ran"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    took = f", for {step['seconds']:.1f} s" if step["seconds"] is not None else ", on another host"
    return f"{moment}{took}"
