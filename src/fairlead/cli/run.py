"""`fairlead run`: makes the plan and becomes the supervisor."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.become import become_supervisor
from fairlead.cli.given import Given
from fairlead.errors import InputError

if TYPE_CHECKING:
    from fairlead.config.load import Flags
    from fairlead.plan.model import Plan


def run(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A file (main.py), a module (pkg.mod), or either with an attribute (pkg.mod:app). Without it main.py, "
            "app.py or api.py is found, here, in app/ or in a package.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="The TCP port; 0 lets the kernel choose. Default: 8000.")
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE", help="host:port, unix:/path or fd:N, instead of host and port. Can be given several times."
        ),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name to serve HTTPS for. Can be given several times."),
    ] = None,
    https: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="off, acme, internal or files. internal alone: https://localhost:8443."),
    ] = None,
    https_port: Annotated[int | None, typer.Option(metavar="PORT", help="The port of HTTPS. Default: 443.")] = None,
    http_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="The port of plain HTTP beside HTTPS. Default: 80.")
    ] = None,
    agree_tos: Annotated[
        bool, typer.Option("--agree-tos", help="You agree to the terms of service of the certificate's issuer.")
    ] = False,
    email: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where the certificate's issuer writes to.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="How many workers: a number, or auto. Default: auto.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The instance's name. Default: the folder's.")
    ] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="The configuration file.")] = None,
    factory: Annotated[bool, typer.Option("--factory", help="The target is a function that returns the app.")] = False,
    app_dir: Annotated[str | None, typer.Option(metavar="FOLDER", help="The folder the app is imported from.")] = None,
    no_access_log: Annotated[bool, typer.Option("--no-access-log", help="No line for every request.")] = False,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="text or json. Default: text.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Started as root: whom the app runs as.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Started as root: its group. Default: the user's.")
    ] = None,
    plan_to: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the app: many workers, HTTPS, restarts, reloads without a lost request."""
    from fairlead.cli.planning import make_plan

    check_platform(sys.platform)
    flags: Flags = {
        "TARGET": (("app", "target"), target),
        "--host": (("http", "host"), host),
        "--port": (("http", "port"), port),
        "--bind": (("http", "bind"), bind or None),
        "--domain": (("https", "domains"), domain or None),
        "--https": (("https", "mode"), https),
        "--https-port": (("https", "https_port"), https_port),
        "--http-port": (("https", "http_port"), http_port),
        "--agree-tos": (("https", "agree_tos"), agree_tos or None),
        "--email": (("https", "email"), email),
        "--workers": (("replication", "workers"), workers),
        "--name": (("app", "name"), name),
        "--factory": (("app", "factory"), factory or None),
        "--app-dir": (("app", "dir"), app_dir),
        "--no-access-log": (("log", "access"), False if no_access_log else None),
        "--log-format": (("log", "format"), log_format),
        "--user": (("app", "user"), user),
        "--group": (("app", "group"), group),
    }
    given: Given = context.find_root().obj
    if plan_to is not None:
        write_plan(make_plan(flags, config, given.arguments), plan_to)
        return
    plan = make_plan(flags, config, given.arguments, kept=True)
    become_supervisor(plan.to_json(), plan.name, given.forerunner)


def check_platform(platform: str) -> None:
    """Sockets, forks and readings are made for one kernel; InputError on any other."""
    if platform != "linux":
        raise InputError(f"cannot run on {platform}: Fairlead needs Linux")


def write_plan(plan: "Plan", descriptor: int) -> None:
    """The plan as JSON into an inherited descriptor, which is closed."""
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(plan.to_json())
    except OSError as error:
        raise InputError(f"cannot write the plan to descriptor {descriptor}: {error.strerror}") from error
