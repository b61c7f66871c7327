"""The supervisor's hands: turns signals, messages, exits and commands into events, and carries the actions out."""

import asyncio
import functools
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import Any

from fairlead import __version__, messages
from fairlead.errors import FairleadError
from fairlead.host import lock, processes
from fairlead.host.activation import take_inherited
from fairlead.host.channel import Channel
from fairlead.host.forerunner import Forerunner
from fairlead.host.notify import take_manager
from fairlead.host.pages import OomCounter
from fairlead.host.spawn import spawn
from fairlead.observability.events import EventLog, ThreadedSink, open_log_file
from fairlead.observability.scoreboard import Scoreboard, create_scoreboard_file
from fairlead.plan.model import LogPlan, Plan
from fairlead.supervisor import actions, events, leftovers, machine, model, status, succession
from fairlead.supervisor.announcer import Announcer
from fairlead.supervisor.certificates import Certificates
from fairlead.supervisor.control import Control
from fairlead.supervisor.gauges import Gauges
from fairlead.supervisor.inquiry import Inquiry
from fairlead.supervisor.listeners import Listeners
from fairlead.supervisor.planner import read_again
from fairlead.supervisor.stragglers import Stragglers
from fairlead.supervisor.succession import Estate

_SIGNALS = {
    signal.SIGTERM: events.Commanded("stop"),
    signal.SIGHUP: events.Commanded("reload"),
    signal.SIGTTIN: events.Commanded("scale", workers="+1"),
    signal.SIGTTOU: events.Commanded("scale", workers="-1"),
    signal.SIGUSR1: events.Commanded("reopen"),
    signal.SIGUSR2: events.Commanded("upgrade"),
}
_MOST_STACKS = 64 * 1024


class Supervisor:
    """Runs a plan until it is told to stop."""

    def __init__(self, plan: Plan, estate: Estate | None = None, forerunner: Forerunner | None = None) -> None:
        """`estate`: what the program before this one left; None for a fresh start, which may have a `forerunner`."""
        if forerunner is not None:
            os.set_inheritable(forerunner.descriptor, False)
        self._forerunner = forerunner
        self._plan = plan
        self._estate = estate
        self._state = estate.state if estate else model.State(target=plan.replication.workers)
        self._events: deque[events.Event] = deque()
        self._handling = False
        self._channels: dict[int, Channel] = {}
        self._stacks: dict[int, int] = {}
        self._manager = take_manager(os.environ, os.getpid())
        self._announcer = Announcer(self._manager.watchdog if self._manager else None)
        self._listeners = Listeners(take_inherited(os.environ, os.getpid()), self._keep_open)
        self._scoreboard_file = estate.scoreboard if estate else create_scoreboard_file()
        self._scoreboard = Scoreboard(self._scoreboard_file)
        self._gauges = Gauges(self._scoreboard, self._listeners)
        self._oom = OomCounter(plan.oom_files)
        self._stragglers = Stragglers()
        self._inquiry: Inquiry | None = None
        self._heir: actions.HandOver | None = None
        self._said: set[str] = set(estate.said if estate else ())
        self._tick: asyncio.TimerHandle | None = None
        # Whoever became this process by exec may have had children, which are none of ours.
        self._strangers = set(estate.strangers if estate else processes.children())
        self._hurry = False
        self._started = estate.started if estate else time.monotonic()

    def run(self) -> int:
        """The exit code, once everything is gone. FairleadError when it cannot start."""
        lock.prepare_runtime_dir(self._plan.runtime_dir)
        base = os.path.join(self._plan.runtime_dir, self._plan.name)
        self._lock = self._estate.lock if self._estate else lock.take_lock(base + ".lock", self._plan.name)
        self._sink, self._log = _open_log(self._plan.log)
        if self._estate:
            self._listeners.take_over(self._estate.listeners)
        else:
            self._listeners.open(self._plan)
        processes.become_subreaper()
        self._control = Control(base + ".sock", self._post, self._status)
        self._certificates = Certificates(self._log, self._swap_certificate, self._control.tell)
        self._control.on_certificates = self._certificates.ask
        try:
            return asyncio.run(self._main())
        finally:
            self._listeners.close_all()
            self._sink.close()

    async def _main(self) -> int:
        loop = self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[int] = loop.create_future()
        loop.set_exception_handler(self._say_exception)
        for number, command in _SIGNALS.items():
            loop.add_signal_handler(number, self._post, command)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if self._estate is not None:
            await self._resume(self._estate)
        else:
            await self._begin()
        try:
            return await self._done
        finally:
            await self._certificates.stop()
            if self._inquiry is not None:
                self._strangers |= self._inquiry.stop()  # none of the app's
            await leftovers.end_leftovers(self._log, self._strangers, lambda: 0.0 if self._hurry else leftovers.GRACE)
            self._control.stop()
            self._log.info("supervisor.stopped", code=self._done.result() if self._done.done() else None)

    async def _begin(self) -> None:
        await self._control.start()
        listening = self._listeners.names()
        self._log.info(
            "supervisor.started", name=self._plan.name, pid=os.getpid(), version=__version__, listening=listening
        )
        self._say_notes(self._plan)
        if unclaimed := self._listeners.unclaimed():
            self._log.warning("listeners.unused", sockets=unclaimed, cause="inherited, and no http.bind names them")
        self._on_tick()  # what the supervisor itself holds counts from the first worker on
        self._post(events.Started(self._plan))

    async def _resume(self, estate: Estate) -> None:
        await self._control.take_over(estate.control, estate.client)
        for process, descriptor in estate.channels.items():
            self._add_channel(process, Channel.from_descriptor(descriptor), estate.stacks[process])
        self._certificates.take_over(self._serving_plan(), estate.jobs)
        succession.take_signals()
        self._reap()
        for ended in self._stragglers.take_over(self._state, time.monotonic()):
            self._post(ended)
        client = estate.client[0] if estate.client else None
        self._post(events.TookOver(client, estate.version, __version__))

    def _estate_now(self, client: int | None = None) -> Estate:
        return Estate(
            version=__version__,
            plan=self._plan,
            state=self._state,
            started=self._started,
            said=sorted(self._said),
            scoreboard=self._scoreboard_file,
            lock=self._lock,
            control=self._control.fileno(),
            listeners=self._listeners.held(),
            channels={process: channel.fileno() for process, channel in self._channels.items()},
            stacks=dict(self._stacks),
            client=self._control.connection(client),
            environ=self._manager.environment if self._manager else {},
            strangers=sorted(self._strangers),
            jobs=self._certificates.held(),
        )

    def _hand_over(self, client: int | None) -> None:
        self._certificates.hand_over()
        self._sink.flush()
        try:
            succession.hand_over(self._estate_now(client))
        except OSError as error:
            self._post(events.SuccessorUnfit(client, f"{sys.executable}: {error.strerror}"))

    # events

    def _post(self, event: events.Event) -> None:
        """Queues an event; events are handled one after the other, those that actions bring last."""
        self._events.append(event)
        if isinstance(event, events.Commanded) and event.name == "stop" and event.now:
            self._hurry = True
        if self._handling:
            return
        self._handling = True
        try:
            while self._events:
                self._handle(self._events.popleft())
        finally:
            self._handling = False
        if (heir := self._heir) is not None:
            self._heir = None
            self._hand_over(heir.client)
        self._announce()
        self._schedule_tick()

    def _announce(self) -> None:
        if self._manager is not None and (news := self._announcer.news(self._state, time.monotonic())):
            self._manager.tell(news)

    def _keep_open(self, sock: socket.socket) -> None:
        if self._manager is not None:
            self._manager.keep(sock.fileno())

    def _handle(self, event: events.Event) -> None:
        try:
            todo = machine.handle(self._state, event, time.monotonic(), random.random())  # noqa: S311 (jitter)
            for action in todo:
                self._carry_out(action)
        except Exception:  # noqa: BLE001 - a mistake of ours must not end a service that serves
            self._log.error("supervisor.error", during=type(event).__name__, traceback=traceback.format_exc())

    def _say_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = "".join(traceback.format_exception(error)) if error is not None else ""
        self._log.error("supervisor.error", during=context.get("message"), traceback=text)

    def _interrupted(self) -> None:
        # The first Ctrl-C is patient, the second is not.
        self._post(events.Commanded("stop", now=self._state.stopping is not None))

    def _reap(self) -> None:
        for ended in processes.reap():
            if self._inquiry is not None:
                self._inquiry.reaped(ended.pid)
            self._certificates.reaped(ended.pid)
            self._strangers.discard(ended.pid)
            # What it said before it ended counts, and may still wait in its channel.
            process = self._state.process_of(ended.pid)
            if process is not None:
                self._on_channel(process)
            exited = events.Exited(ended.pid, self._how(ended), clean=ended.code == 0)
            companion = self._state.companions.get(process) if process is not None else None
            if companion is None or not self._stragglers.stay(companion, exited, time.monotonic()):
                self._post(exited)
        self._tell_gone()

    def _tell_gone(self) -> None:
        for exited in self._stragglers.gone(time.monotonic()):
            self._post(exited)

    def _how(self, ended: processes.Ended) -> str:
        """How a child ended; a SIGKILL that the kernel's out-of-memory killer may have sent is told as that."""
        if ended.signal == signal.SIGKILL and (counter := self._oom.killed()):
            return f"{ended.how}: the kernel killed it because memory ran out ({counter})"
        return ended.how

    def _schedule_tick(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self._loop.call_later(machine.next_tick(self._state, time.monotonic()), self._on_tick)

    def _on_tick(self) -> None:
        self._tell_gone()
        self._post(self._gauges.read(self._state))

    def _on_channel(self, process: int) -> None:
        channel = self._channels.get(process)
        while channel is not None:
            try:
                received = channel.receive()
            except BlockingIOError:
                return
            except ValueError as error:
                self._log.warning("channel.rubbish", process=process, cause=str(error))
                continue
            if received is None:
                # The kernel tells the exit; here only nothing more will come.
                self._loop.remove_reader(channel.fileno())
                self._post(events.ChannelOver(process))
                return
            for descriptor in received[1]:
                os.close(descriptor)
            self._post(events.Said(process, received[0]))
            channel = self._channels.get(process)

    # actions

    def _carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Log(level, event, fields):
                self._log.write(level, event, fields)
            case actions.Send(process, message):
                if process in self._channels:
                    self._channels[process].send(message)
            case actions.ForkWorker(template, process, _release, slot):
                self._fork(template, process, messages.Fork(process, slot))
            case actions.ForkCompanion(template, process, name):
                self._fork(template, process, messages.ForkCompanion(process, name))
            case actions.ForkSpareTemplate(template, process):
                self._fork(template, process, messages.ForkSpare(process))
            case actions.SpawnTemplate(process, release, plan):
                self._spawn(process, plan, "fairlead.worker", str(release), serves=True)
            case actions.SpawnWorker(process, release, slot, plan):
                self._spawn(process, plan, "fairlead.worker", str(release), str(process), str(slot), serves=True)
            case actions.SpawnSteps(process, plan):
                self._spawn(process, plan, "fairlead.steps")
            case actions.SpawnCompanion(process, plan, name):
                self._spawn(process, plan, "fairlead.worker.companion", name)
            case actions.DumpStacks(_process, pid):
                processes.send_signal(pid, processes.DUMP_SIGNAL)
            case actions.Kill(pid):
                processes.send_signal(pid, signal.SIGKILL)
            case actions.KillGroup(pid):
                processes.send_signal(pid, signal.SIGKILL)
                self._stragglers.kill(pid, time.monotonic())
            case actions.Signal(pid, name):
                processes.send_signal(pid, signal.Signals[f"SIG{name}"])
            case actions.Forget(process, slot):
                self._forget(process, slot)
            case actions.Progress() | actions.Reply():
                self._control.tell(action)
            case _:
                self._carry_out_rare(action)

    def _carry_out_rare(self, action: actions.Action) -> None:
        match action:
            case actions.ReadConfiguration(plan):
                self._read_configuration(plan)
            case actions.KeepListeners(plans):
                if gone := self._listeners.keep_only(plans):
                    self._log.info("listeners.closed", closed=gone)
            case actions.LookAfterCertificates(plan):
                self._certificates.serve(plan)
            case actions.CloseAccept():
                self._listeners.close_all()
            case actions.TrySuccessor(client):
                self._inquiry = succession.try_successor(self._estate_now(), functools.partial(self._on_tried, client))
            case actions.HandOver():
                self._heir = action  # once everything else that was decided has been done
            case actions.ReopenLogFile():
                self._sink.reopen()
            case actions.Exit(code):
                if not self._done.done():
                    self._done.set_result(code)
            case _:
                raise TypeError(f"cannot carry out {action!r}: no such action")

    def _read_configuration(self, plan: Plan) -> None:
        try:
            os.chdir(plan.cwd)  # by its path: a deployment may have put another folder there
            self._inquiry = read_again(plan, self._on_planned)
        except OSError as error:
            self._post(events.PlanFailed(f"cannot read the configuration in {plan.cwd}: {error.strerror}"))

    def _forget_inquiry(self) -> None:
        """It has answered; until its process is reaped, it is none that the app left behind."""
        if self._inquiry is not None and self._inquiry.pid is not None:
            self._strangers.add(self._inquiry.pid)
        self._inquiry = None

    def _on_planned(self, event: events.Event) -> None:
        self._forget_inquiry()
        if isinstance(event, events.Planned):
            self._say_notes(event.plan)
        self._post(event)

    def _on_tried(self, client: int | None, problem: str) -> None:
        self._forget_inquiry()
        self._post(events.SuccessorUnfit(client, problem) if problem else events.SuccessorFit(client))

    def _fork(self, template: int, process: int, order: messages.Message) -> None:
        # Not an error when the template is gone: its end is on the way, and brings the fork to another one.
        theirs = self._open_channel(process, os.memfd_create("fairlead-stacks", os.MFD_CLOEXEC))
        channel = self._channels.get(template)
        if channel is not None:
            channel.send(order, (theirs.fileno(), self._stacks[process]))
        theirs.close()

    def _spawn(self, process: int, plan: Plan, module: str, *arguments: str, serves: bool = False) -> None:
        """Starts one of our modules with its plan and channel; one that `serves` gets all that serving takes."""
        plan_file = os.memfd_create("fairlead-plan", os.MFD_CLOEXEC)
        stacks = os.memfd_create("fairlead-stacks", os.MFD_CLOEXEC)
        try:
            # Whatever is started first, the sockets and the store come before: no step runs for a release that lacks them.
            listening = [sock.fileno() for sock in self._listeners.open(plan)]
            self._certificates.prepare(plan, serves=plan is self._serving_plan())
            os.write(plan_file, plan.without_secrets().to_json().encode())
            os.lseek(plan_file, 0, os.SEEK_SET)
            os.chdir(plan.cwd)
            serving = (self._scoreboard_file, *listening) if serves else ()
            if serves and self._begin_ahead(process, arguments, plan_file, stacks, serving):
                return
            theirs = self._open_channel(process, stacks)
            inherit = (plan_file, theirs.fileno(), stacks, *serving)
            command = [sys.executable, "-P", "-m", module, ",".join(map(str, inherit)), *arguments]
            with theirs:
                self._post(events.Spawned(process, spawn(command, inherit)))
        except FairleadError as error:
            self._post(events.SpawnFailed(process, str(error)))
        except OSError as error:
            self._post(events.SpawnFailed(process, f"cannot start a process: {error.strerror}"))
        finally:
            os.close(plan_file)
            if process not in self._stacks:
                os.close(stacks)

    def _serving_plan(self) -> Plan | None:
        serving = self._state.serving
        return None if serving is None else self._state.releases[serving].plan

    def _begin_ahead(
        self, process: int, arguments: tuple[str, ...], plan: int, stacks: int, serving: tuple[int, ...]
    ) -> bool:
        """Has the forerunner become the process; False when there is none any more."""
        ahead, self._forerunner = self._forerunner, None
        channel = ahead.begin(arguments, (plan, stacks, *serving)) if ahead is not None else None
        if ahead is None or channel is None:
            return False
        self._add_channel(process, channel, stacks)
        self._post(events.Spawned(process, ahead.pid))
        self._loop.call_soon(self._reap)  # it may have ended before its end could be heard of
        return True

    def _open_channel(self, process: int, stacks: int) -> socket.socket:
        ours, theirs = Channel.pair()
        self._add_channel(process, ours, stacks)
        return theirs

    def _add_channel(self, process: int, channel: Channel, stacks: int) -> None:
        self._channels[process], self._stacks[process] = channel, stacks
        self._loop.add_reader(channel.fileno(), functools.partial(self._on_channel, process))

    def _swap_certificate(self, key: str) -> None:
        for worker in self._state.workers.values():
            if worker.id in self._channels:
                self._channels[worker.id].send(messages.SwapCertificate(key))

    def _forget(self, process: int, slot: int | None) -> None:
        if channel := self._channels.pop(process, None):
            self._loop.remove_reader(channel.fileno())
            channel.close()
        stacks = self._stacks.pop(process, None)
        if stacks is not None:
            if text := os.pread(stacks, _MOST_STACKS, 0):
                self._log.error("process.stacks", process=process, stacks=text.decode(errors="replace"))
            os.close(stacks)
        if slot is not None:
            self._scoreboard.clear(slot)

    # what others ask

    def _say_notes(self, plan: Plan) -> None:
        """Says each note once: a reload repeats only what is new."""
        for note in plan.notes:
            if note not in self._said:
                self._said.add(note)
                self._log.info("note", text=note)

    def _status(self) -> dict[str, Any]:
        now, wall = time.monotonic(), datetime.now(UTC)
        names = self._listeners.names()
        report = status.report(
            self._state, self._scoreboard, names, pid=os.getpid(), started=self._started, now=now, wall=wall
        )
        return report | {"certificates": self._certificates.report()}


def _open_log(plan: LogPlan) -> tuple[ThreadedSink, EventLog]:
    """The supervisor's log: lines are written by a thread, so that a stuck terminal or pipe stops nothing."""
    if plan.file is None:
        descriptor = 2
    else:
        try:
            descriptor = open_log_file(plan.file)
        except OSError as error:
            raise FairleadError(f"cannot open log.file {plan.file}: {error.strerror}") from error
    sink = ThreadedSink(descriptor, plan.file)
    return sink, EventLog(plan.format, "supervisor", sink, plan.level)
