"""`fairlead check`: the six concepts at a glance."""

import dataclasses
import errno
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from fairlead.plan.check import Finding, Known
    from fairlead.plan.model import Bind, Plan

_DEADLINE = 5.0
_WIDE = 100
"""Columns from which on there is room for a table."""


def check(
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show who takes care of the six concepts, what is missing, and what mends it. Ends with 1 when something is missing."""
    from fairlead.cli.planning import make_plan
    from fairlead.plan.check import judge

    findings = judge(look_up(make_plan({}, config, ())))
    if as_json:
        concepts = [{**dataclasses.asdict(finding), "ok": finding.ok} for finding in findings]
        typer.echo(json.dumps({"ok": all(finding.ok for finding in findings), "concepts": concepts}, indent=2))
    else:
        _print(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def look_up(plan: "Plan") -> "Known":
    """Everything that the judgement needs, of this host and of the running instance."""
    from fairlead.cli.steps import read_steps
    from fairlead.host.cpus import usable_cpus
    from fairlead.host.memory import memory_pressure, usable_memory
    from fairlead.plan.check import Known

    report, problem, mend, due = _report(plan), "", "fairlead steps", []
    try:
        steps = read_steps(plan)
        due = [step["name"] for step in steps if step["due"] and step["when"] == "release"]
        if problem := next((step["problem"] for step in steps if step["due"] is None), ""):
            mend = "psql ADDRESS -c 'select 1'  # ADDRESS: the step's lock; go on when it answers"
    except FairleadError as error:
        problem = str(error)
    unit = f"{plan.name}.service"
    home = _home()
    manager = _manager_of(unit) if home == "systemd" else None
    names = {name for one in plan.https.certificates for name in one.names if not name.startswith("*.")}
    return Known(
        plan=plan,
        report=report,
        home=home,
        unit_installed=manager is not None,
        unit_enabled=manager is not None and _starts_with_the_machine(manager, unit),
        systemctl=" ".join(manager or ("systemctl",)),
        domains={name: _addresses_of(name) for name in sorted(names)},
        own_addresses=_own_addresses(),
        busy=() if report else tuple(str(bind) for bind in plan.binds if _is_taken(bind)),
        steps_due=tuple(due),
        cpus=usable_cpus(process=report["pid"] if report else None),
        usable=usable_memory(process=report["pid"] if report else "self"),
        now=time.time(),
        pressure=memory_pressure(report["pid"] if report else "self"),
        steps_problem=problem,
        steps_mend=mend,
    )


def _report(plan: "Plan") -> dict[str, Any] | None:
    """What the instance says of itself; None when it does not run."""
    from fairlead.cli.asking import ask
    from fairlead.cli.instances import Instance, is_alive

    path = Path(plan.runtime_dir) / f"{plan.name}.sock"
    return ask(Instance(plan.name, path), "status", silence=_DEADLINE) if is_alive(path) else None


def _home() -> str:
    if Path("/run/systemd/system").is_dir():
        return "systemd"
    return "container" if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")) else "none"


def _manager_of(unit: str) -> tuple[str, ...] | None:
    """How to speak to the manager that has the unit, the system's or this user's own; None when neither has."""
    managers = (("systemctl",), ("systemctl", "--user"))
    return next((manager for manager in managers if _said(*manager, "cat", unit) is not None), None)


def _starts_with_the_machine(manager: tuple[str, ...], unit: str) -> bool:
    """`enabled-runtime` is gone after the next start of the machine, and `static` was never asked for."""
    return _said(*manager, "is-enabled", unit) in ("enabled", "alias")


def _said(*command: str) -> str | None:
    """What a command wrote; None when it failed or did not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _addresses_of(name: str) -> tuple[str, ...]:
    try:
        return tuple(sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}))
    except OSError:
        return ()


def _own_addresses() -> frozenset[str]:
    import psutil

    found = (address.address.partition("%")[0] for addresses in psutil.net_if_addrs().values() for address in addresses)
    return frozenset(found)


def _is_taken(bind: "Bind") -> bool:
    """Whether somebody else listens there: then a start would fail."""
    if bind.kind != "tcp" or not bind.port:
        return False
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.host, bind.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _print(findings: "list[Finding]") -> None:
    from rich.text import Text

    from fairlead.cli.output import console

    screen = console()
    if screen.width >= _WIDE:
        screen.print(_as_table(findings))
        return
    for one in findings:
        screen.print(_as_list(one))
        if not one.ok:  # never folded: it is there to be copied
            screen.print(Text(f"      do: {one.mend}", style="bold"), soft_wrap=True)


def _as_table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("", "concept", "who", "state"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        table.add_row(_mark(one), one.concept, one.who, one.state)
        if not one.ok:
            table.add_row("", "", Text("missing", style="yellow"), one.missing)
            table.add_row("", "", Text("do", style="bold"), Text(one.mend, style="bold"))
    return table


def _as_list(one: "Finding") -> "Table":
    """The same for a narrow terminal: one column of text."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=4)
    table.add_column(overflow="fold")
    table.add_row(_mark(one), Text(f"{one.concept}: {one.who}", style="bold"))
    table.add_row("", one.state)
    if not one.ok:
        table.add_row("", Text(f"missing: {one.missing}", style="yellow"))
    return table


def _mark(one: "Finding") -> "Text":
    from rich.text import Text

    return Text("ok", style="green") if one.ok else Text("look", style="yellow")
