"""`fairlead status`: how an instance is doing."""

import dataclasses
import json
from typing import Annotated, Any

import typer

from fairlead.cli.asking import Config, Name, ask, instance_of
from fairlead.cli.instances import Instance
from fairlead.errors import InputError
from fairlead.host.memory import CgroupMemory, Pressure, cgroup_memory, cgroup_pressure, host_pressure, read_memory

DEADLINE = 5.0


def status(
    name: Name = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it live; q or Ctrl-C ends.")] = False,
) -> None:
    """Show release, listeners, workers and restarts."""
    if watch and as_json:
        raise InputError("cannot use --watch with --json: allowed: one of them")
    instance = instance_of(name, config)
    if as_json:
        typer.echo(json.dumps(read_status(instance), indent=2))
    elif watch:
        from fairlead.cli.watch import watch_status

        watch_status(lambda: read_status(instance))
    else:
        from fairlead.cli.output import console
        from fairlead.cli.status_view import render

        screen = console()
        screen.print(render(read_status(instance), screen.width))


def read_status(instance: Instance) -> dict[str, Any]:
    """What the supervisor says, and the memory of its processes: None where we may not look."""
    report = ask(instance, "status", silence=DEADLINE)
    readings = {pid: read_memory(pid) for pid in _pids(report)}
    for process in (*report.get("workers", ()), *report.get("companions", ())):
        reading = readings.get(process["pid"])
        process["pss_bytes"] = reading.pss if reading else None
        process["uss_bytes"] = reading.uss if reading else None
        process["rss_bytes"] = reading.rss if reading else None
    supervisor = readings.get(report["pid"])
    report["memory"] = {
        "supervisor_pss": supervisor.pss if supervisor else None,
        # A child that ended since then weighs nothing; the supervisor that cannot be read means that we may not.
        "total_pss": sum(reading.pss for reading in readings.values() if reading) if supervisor else None,
        "cgroup": _plain(cgroup_memory(report["pid"])),
        "pressure": {"cgroup": _plain(cgroup_pressure(report["pid"])), "host": _plain(host_pressure())},
    }
    return report


def _plain(found: CgroupMemory | Pressure | None) -> dict[str, Any] | None:
    return dataclasses.asdict(found) if found is not None else None


def _pids(report: dict[str, Any]) -> list[int]:
    """Every process of the instance that the report names."""
    templates = [release.get(kind) for release in report.get("releases", ()) for kind in ("template_pid", "spare_pid")]
    others = [one.get("pid") for kind in ("workers", "companions") for one in report.get(kind, ())]
    return [pid for pid in (report["pid"], *templates, *others) if pid]
