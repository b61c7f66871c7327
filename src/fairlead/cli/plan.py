"""`fairlead plan`: starts the app once, measures, and says how many workers fit and what they would carry."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fairlead.plan.estimate import Carried, Estimate

WIDTH = 64


def plan(
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    load: Annotated[
        str | None,
        typer.Option("--load", metavar="PATH", help="Also drive the app with this path.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, max=60.0, help="How long to drive it.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Start the app once, without a port, measure it, and say how many workers fit and why."""
    from fairlead.cli.planning import make_plan
    from fairlead.cli.trial import trial
    from fairlead.host.cpus import usable_cpus
    from fairlead.host.memory import usable_memory
    from fairlead.plan.estimate import Estimate

    made = make_plan({}, config, ())
    policy = made.replication
    with trial(made) as running:
        running.wait(made.startup.import_timeout + made.startup.ready_timeout)
        measured = running.measure()
        carried = running.load(load if load.startswith("/") else f"/{load}", seconds) if load else None
    estimate = Estimate(measured, usable_memory(), made.memory.budget, usable_cpus(), policy.max or policy.workers)
    if as_json:
        typer.echo(json.dumps(as_data(estimate, carried), indent=2))
    else:
        _print(made.name, estimate, carried)
    raise typer.Exit(1 if not estimate.fit or (carried and not carried.requests) else 0)


def _print(name: str, estimate: "Estimate", carried: "Carried | None") -> None:
    from fairlead.cli.output import console

    screen = console()
    for line in lines(name, estimate, carried, min(WIDTH, screen.width - 2)):
        screen.print(line)


def as_data(estimate: "Estimate", carried: "Carried | None") -> dict[str, Any]:
    """Bytes, seconds and requests a second."""
    from fairlead.plan.estimate import machine_rate

    data = {
        **dataclasses.asdict(estimate.measured),
        "usable": estimate.usable,
        "budget": estimate.budget,
        "shared": estimate.shared,
        "workers_fit": estimate.fit,
        "workers": estimate.workers,
        "totals": {str(count): estimate.total(count) for count in (1, 2, 4, estimate.workers)},
    }
    if carried is not None:
        data["load"] = {
            "path": carried.path,
            "requests_per_second": round(carried.rate, 1),
            "failed": carried.failed,
            "cpu": round(carried.cpu, 2),
            "machine_estimate": round(machine_rate(carried, estimate.workers, estimate.cpus), 1),
        }
    return data


def lines(name: str, estimate: "Estimate", carried: "Carried | None", width: int = WIDTH) -> list[str]:
    """The report, for a person. `width`: the bar's."""
    from fairlead.units import format_size

    measured, budget = estimate.measured, estimate.budget or estimate.usable
    born = "forked from the template" if measured.forks else "started from the disk, for it cannot be forked"
    count = f"{estimate.fit} worker{'s fit' if estimate.fit != 1 else ' fits'}"
    total = format_size(estimate.total(estimate.workers))
    running = f"workers: {estimate.workers} ({_why(estimate)}; {estimate.cpus:g} CPUs), {total} in all"
    told = [
        f"{name}: imported in {measured.import_seconds:.2f} s; a worker, {born}, is ready after {measured.ready_seconds:.3f} s",
        f"memory: {format_size(estimate.shared)} shared by all, {format_size(measured.private)} more for each worker",
        f"budget: {format_size(budget)} of {format_size(estimate.usable)}, so {count}",
        running,
        "",
        f"[{estimate.bar(width)}]",
        "# shared  1 2 3 … each worker's own  . free of the budget  - beyond the budget",
    ]
    return told + _load_lines(estimate, carried) if carried else told


def _why(estimate: "Estimate") -> str:
    from fairlead.units import format_size

    if not estimate.fit:
        return f"not even one fits: allowed is a memory.budget of at least {format_size(estimate.measured.counted)}"
    return "as many as are wanted" if estimate.workers == estimate.wanted else "no more fit into the budget"


def _load_lines(estimate: "Estimate", carried: "Carried") -> list[str]:
    from fairlead.plan.estimate import machine_rate

    if not carried.requests:
        return [
            "",
            f"load: {carried.path}: all {carried.failed} requests failed: {carried.failure}; nothing to estimate from",
        ]
    whole = machine_rate(carried, estimate.workers, estimate.cpus)
    failed = f", {carried.failed} failed: {carried.failure}" if carried.failed else ""
    return [
        "",
        f"load: {carried.path}: one worker answered {carried.rate:.0f} requests/s with {carried.cpu:.0%} of a CPU{failed}",
        f"estimate: {whole:.0f} requests/s with {estimate.workers} workers, if nothing but the CPU is in the way",
        "          (the clients ran on this machine too; what all workers share, such as a database, was not looked at)",
    ]
