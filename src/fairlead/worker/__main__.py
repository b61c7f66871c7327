"""`python -P -m fairlead.worker DESCRIPTORS RELEASE [WORKER SLOT]`: a template, or a worker that is started fresh.

DESCRIPTORS: plan, channel, stacks, scoreboard, listeners …, separated by commas, all inherited.

`--wait CHANNEL` instead: everything is imported but the app, and what to become is heard on the channel.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # what these imports make stays: to look through it again and again would take a tenth of them

import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from fairlead.errors import FairleadError
from fairlead.host.channel import Channel
from fairlead.host.forerunner import WAIT
from fairlead.host.pages import resident
from fairlead.messages import Failed, Imported
from fairlead.observability.events import DescriptorSink, EventLog, FileSink
from fairlead.observability.scoreboard import Scoreboard
from fairlead.plan.model import Plan
from fairlead.worker import forerunner, process
from fairlead.worker.context import WorkerContext
from fairlead.worker.forksafety import open_sockets, unsafe_to_fork
from fairlead.worker.loading import LoadError, code_of, load_app
from fairlead.worker.prepare import prepare

# Imported before the fork although only workers need it: so it is shared, and a fork is ready at once.
from fairlead.worker.serving import end_process, run_worker
from fairlead.worker.template import Newborn, hold_gc, serve_forks, tune_gc
from fairlead.worker.uvicorn_adapter import Config, import_loop

if TYPE_CHECKING:
    from fairlead.https.tls import Certificates

FAILED = 1


def main(arguments: list[str]) -> int:
    """Returns the exit code of whatever this process turned out to be."""
    given = forerunner.wait(int(arguments[1])) if arguments[0] == WAIT else arguments
    if given is None:
        return 0
    return _work(given)


def _work(arguments: list[str]) -> int:
    """What `main` does with arguments that say what this process is."""
    began = time.monotonic()
    plan_file, channel_file, stacks, scoreboard_file, *listening = map(int, arguments[0].split(","))
    release = int(arguments[1])
    for descriptor in (channel_file, scoreboard_file, stacks, *listening):
        os.set_inheritable(descriptor, False)
    with os.fdopen(plan_file) as file:
        plan = Plan.from_json(file.read())
    channel = Channel.from_descriptor(channel_file)
    fresh = len(arguments) > 2
    title = f"worker {release}/{arguments[3]}" if fresh else f"template {release}"
    supervisor = os.getppid()
    try:
        process.drop_privileges(plan.identity)
    except OSError as error:
        user = plan.identity.user if plan.identity else ""
        channel.send(Failed("start", f"cannot become user {user!r}: {error.strerror}"))
        return FAILED
    process.settle_in(plan, title, stacks, supervisor, signal.SIGTERM if fresh else signal.SIGKILL)
    process.raise_open_files()
    try:
        certificates = _certificates(plan)
    except FairleadError as error:
        channel.send(Failed("https", str(error)))
        return FAILED
    import_loop(plan.http.loop)
    gc.enable()
    held = hold_gc() if plan.memory.gc == "tuned" else 0
    config = _import_app(plan, channel)
    if config is None:
        return FAILED
    if plan.memory.gc == "tuned":
        tune_gc(held)
    if fresh:
        newborn: Newborn | None = Newborn(int(arguments[2]), int(arguments[3]), channel, began)
    else:
        newborn = serve_forks(plan, release, channel, supervisor)
    if newborn is None:
        return 0
    if newborn.companion:
        for descriptor in listening:
            os.close(descriptor)  # who holds a listening socket keeps it open
        from fairlead.worker import companion

        return companion.call(plan, newborn.companion, newborn.channel)
    return run_worker(
        WorkerContext(
            plan=plan,
            config=config,
            listeners=tuple(socket.socket(fileno=descriptor) for descriptor in listening),
            scoreboard=Scoreboard(scoreboard_file),
            channel=newborn.channel,
            log=_open_log(plan, f"worker {newborn.worker}"),
            worker=newborn.worker,
            slot=newborn.slot,
            release=release,
            forked=not fresh,
            began=newborn.began,
            certificates=certificates,
        )
    )


def _certificates(plan: Plan) -> "Certificates | None":
    """What to speak TLS with, when the plan says so."""
    if not plan.https.certificates:
        return None
    from fairlead.https.tls import Certificates

    return Certificates(plan.https)


def _open_log(plan: Plan, entity: str) -> EventLog:
    """The worker's events go where the supervisor's go. A file that this user may not open is said, and stderr taken."""
    sink = FileSink(plan.log.file) if plan.log.file else DescriptorSink(2)
    return EventLog(plan.log.format, entity, sink, plan.log.level)


def _import_app(plan: Plan, channel: Channel) -> Config | None:
    """Imports the app and tells the supervisor how it went; what to serve it with, or None when that failed."""
    sockets = open_sockets()
    begun = time.monotonic()
    try:
        app, name = load_app(plan.app)
    except LoadError as error:
        channel.send(Failed("import", error.cause, error.traceback))
        return None
    config = prepare(app, plan)
    channel.send(
        Imported(name, time.monotonic() - begun, unsafe_to_fork(sockets), resident("self")[1], code_of(plan.app.dir))
    )
    return config


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
