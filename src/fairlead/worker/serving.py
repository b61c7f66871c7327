"""A worker from the moment its app is loaded to its exit: start, wait, serve, leave."""

import asyncio
import atexit
import contextlib
import math
import os
import signal
import socket
import sys
from random import randint
from time import monotonic, monotonic_ns, process_time_ns, time
from types import FrameType
from typing import Any, NoReturn

from fairlead.lean_dataclass import dataclass
from fairlead.messages import (
    Accepted,
    Drain,
    Drained,
    Failed,
    Ready,
    ReopenLogs,
    Serve,
    SwapCertificate,
    WantsRecycle,
)
from fairlead.observability.scoreboard import CAPACITY, Column
from fairlead.worker.accept import Acceptor
from fairlead.worker.access_log import AccessLog
from fairlead.worker.app_log import take_uvicorns_log
from fairlead.worker.context import WorkerContext
from fairlead.worker.drain import Leaving, Limits
from fairlead.worker.edge import Edge
from fairlead.worker.lifespan import Lifespan, StartFailed
from fairlead.worker.memory import MemoryMeter
from fairlead.worker.probe import probe, probe_scope
from fairlead.worker.state import WorkerState
from fairlead.worker.traces import one_line, user_traceback
from fairlead.worker.uvicorn_adapter import Server, loop_factory

_TICK = 0.25
_REST = 0.5
"""Seconds between two ticks of a worker without a connection: half of the heartbeat's age that others still believe."""
_SAMPLE = 0.05
_LATE = 0.002
"""Seconds. uvloop's timers are exact to a millisecond; what comes later than this had to wait for something."""
_WITHOUT_SUPERVISOR = 5.0
"""Seconds that a drain may take when the supervisor is gone: nobody watches over it."""
_FOR_LIFESPAN = 4.0
"""Seconds that the lifespan's shutdown may take beyond the drain's own; the supervisor allows five."""
_FAILED = 1


def run_worker(context: WorkerContext) -> int:
    """Serves until told to leave; returns the process's exit code. Called once, in the process's main thread."""
    try:
        access = _access_log(context)
    except OSError as error:
        context.channel.send(
            Failed("log", f"cannot open log.access_file {context.plan.log.access_file}: {error.strerror}")
        )
        return _FAILED
    worker = Worker(context, access)
    loop = loop_factory(worker.config)()
    try:
        loop.run_until_complete(worker.serve())
        _close(loop)
    except BaseException as error:  # noqa: BLE001 - whatever stops the loop is said, and ends the process
        context.log.error("worker.loop_died", cause=one_line(error), traceback=user_traceback(error))
        worker.exit_code = _FAILED
    if access is not None:
        access.close()
    return worker.exit_code


def end_process(code: int) -> NoReturn:
    """Ends the process after the app's exit handlers, without waiting for its threads: a handler that is stuck in one
    was cut already, and Python would join it for as long as it likes."""
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does, for the same reason
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code)


def _access_log(context: WorkerContext) -> AccessLog | None:
    plan = context.plan.log
    return AccessLog(plan.format, context.log, plan.access_file) if plan.access else None


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what the app left running. Nothing that ignores its cancellation, and no thread, is waited for."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.run_until_complete(asyncio.wait([loop.create_task(loop.shutdown_asyncgens())], timeout=1))
    loop.close()


@dataclass(frozen=True, slots=True)
class Order:
    """To leave: why, whether nobody follows, and whether the supervisor is still there."""

    reason: str
    last: bool = False
    alone: bool = False


class Worker(Server):
    """One worker process's life, in uvicorn's phases. Everything runs in the event loop's thread."""

    def __init__(self, context: WorkerContext, access: AccessLog | None) -> None:
        plan = context.plan
        self.state = WorkerState(context.scoreboard, context.slot, access)
        super().__init__(context.config, self.state)
        self.state.limits = plan.http
        self._edge = Edge(context, self.state)
        self.state.load(self.config, time())
        self.exit_code = 0
        self._context = context
        self._log = context.log
        self._access = access
        self._protocol: Any = self.config.http_protocol_class
        self._second = 0
        self._meter = MemoryMeter(context.forked)
        self._supervisor = os.getppid()
        self._alarmed = False
        self._alone = False
        """The supervisor is gone."""
        self._recycle_at = _recycle_at(plan.restarts.max_requests, plan.restarts.max_requests_jitter)
        self._leaving: Leaving | None = None

    # uvicorn's phases

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Starts the app. Leaves `started` False when that fails, or when told to leave before it is through."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_exception)
        self._order: asyncio.Future[Order] = self._loop.create_future()
        self._lifespan = Lifespan(
            self.config.loaded_app, self._context.plan.http.lifespan, self.config.asgi_version, self._log
        )
        doors = self._edge.doors(self._make_protocol)
        self._acceptor = Acceptor(self._loop, doors, self.state, self._context.scoreboard, self._log)
        take_uvicorns_log(self._log)
        self._take_slot()
        self._tick()
        if self._context.plan.replication.scales:
            self._sample(monotonic())
        self._take_signals()
        self._loop.add_reader(self._context.channel.fileno(), self._on_channel)
        start = self._loop.create_task(self._start_app())
        either: list[asyncio.Future[Any]] = [start, self._order]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if start.done() and start.result():
            self.started = True
            return
        self.should_exit = True
        if not start.done():
            start.cancel()
            await asyncio.wait([start], timeout=1)
            self._context.channel.send(Drained())

    async def main_loop(self) -> None:
        """Serves once the supervisor says so, until there is an order to leave."""
        await self._order

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Drains, lets the app clean up, reports."""
        order = self._order.result()
        policy = self._context.plan.restarts
        self._log.info("worker.draining", reason=order.reason, connections=self.state.open)
        limits = Limits.of(policy, order.last)
        if self._alone:
            limits = limits.at_most(_WITHOUT_SUPERVISOR)
        began = monotonic()
        self._leaving = Leaving(self.state, limits, self._log)
        drained = await self._leaving.run(self._acceptor.adopting)
        await self._lifespan.shutdown(max(1.0, began + limits.all + _FOR_LIFESPAN - monotonic()))
        if self._access is not None:
            self._access.flush()
        self._context.channel.send(drained)
        self._log.info("worker.drained", after=monotonic() - began)

    async def _start_app(self) -> bool:
        plan = self._context.plan
        try:
            await self._lifespan.startup(plan.startup.lifespan_timeout)
            if plan.startup.probe is not None:
                bind = plan.binds[0] if plan.binds else None
                scope = probe_scope(plan.startup.probe, plan.http, bind, self.config.asgi_version, self._lifespan.state)
                await probe(self.config.loaded_app, scope, plan.startup.probe_timeout)
        except StartFailed as error:
            self._context.channel.send(Failed(error.stage, str(error), error.traceback))
            await self._lifespan.shutdown(_FOR_LIFESPAN)
            self.exit_code = _FAILED
            return False
        now = monotonic()
        held = self._meter.begin(now)
        self._publish()  # before the supervisor hears of it: its readings are not older than what it was told
        self._context.channel.send(Ready(now - self._context.began, held))
        return True

    def _make_protocol(self, secure: bool) -> Any:
        protocol = self._protocol(
            config=self.config, server_state=self.state, app_state=self._lifespan.state, _loop=self._loop
        )
        protocol.secure = secure
        return protocol

    # Orders

    def _on_channel(self) -> None:
        while True:
            try:
                received = self._context.channel.receive()
            except BlockingIOError:
                return
            except ValueError as error:
                self._log.error("worker.message_ignored", cause=str(error))
                continue
            if received is None:
                self._loop.remove_reader(self._context.channel.fileno())
                self._leave(Order("the supervisor is gone", alone=True))
                return
            self._on_message(received[0])

    def _on_message(self, message: object) -> None:
        match message:
            case Serve():
                if not self._order.done():
                    self._acceptor.start()
            case Drain(reason, last):
                self._leave(Order(reason, last))
            case SwapCertificate(key):
                self._edge.load([key])
            case ReopenLogs():
                self._log.reopen()
                if self._access is not None:
                    self._access.reopen()
            case _:
                self._log.error("worker.message_ignored", cause=f"unexpected {type(message).__name__}")

    def _leave(self, order: Order) -> None:
        """Takes no new connection from now on; the rest of the drain follows in `shutdown`."""
        self._acceptor.stop()
        if order.last:
            self._acceptor.take_the_rest()
        self._context.channel.send(Accepted())
        if not self._order.done():
            self._order.set_result(order)
            self._arm_alarm()
        if order.alone:
            self._alone = True
            if self._leaving is not None:
                self._leaving.shorten(_WITHOUT_SUPERVISOR)

    def _take_signals(self) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # The alarm is set here, not in the loop: a handler that never returns to the loop must not keep the process.
        # The kernel sends SIGTERM when the supervisor dies, and then nobody else would end such a process.
        if os.getppid() != self._supervisor:
            signal.alarm(math.ceil(_WITHOUT_SUPERVISOR) + 1)
            self._alarmed = True
        self._arm_alarm()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave, Order(signal.Signals(number).name))

    def _arm_alarm(self) -> None:
        """The kernel ends this process when the drain takes longer than it ever may."""
        if not self._alarmed:
            self._alarmed = True
            signal.alarm(math.ceil(self._context.plan.restarts.drain_deadline))

    # The tick

    def _tick(self) -> None:
        scales = self._context.plan.replication.scales  # the load is looked at as often as that
        busy = scales or self.state.draining or self.state.connections
        self._loop.call_later(_TICK if busy else _REST, self._tick)
        self._publish()
        self._acceptor.tick()
        wall = time()
        if int(wall) != self._second:
            self._second = int(wall)
            self.state.renew_headers(self.config, wall)
        self.state.sweep(monotonic())
        if self._access is not None:
            self._access.flush()
        if self._recycle_at and self.state.requests >= self._recycle_at:
            self._recycle_at = 0
            self._context.channel.send(WantsRecycle(f"{self.state.requests} requests"))

    def _sample(self, due: float) -> None:
        """Was the loop busy just now? The share of such looks that come late is the share of its time that it is."""
        now = monotonic()
        if now - due > _LATE:
            cell = Column.BLOCKED * CAPACITY + self._context.slot
            self.state.cells[cell] += int((now - due + _SAMPLE) * 1e9)
        self._loop.call_later(_SAMPLE, self._sample, now + _SAMPLE)

    def _take_slot(self) -> None:
        for column, value in (
            (Column.WORKER, self._context.worker),
            (Column.PID, os.getpid()),
            (Column.RELEASE, self._context.release),
        ):
            self.state.cells[column * CAPACITY + self._context.slot] = value

    def _publish(self) -> None:
        cells, slot = self.state.cells, self._context.slot
        cells[Column.HEARTBEAT * CAPACITY + slot] = monotonic_ns()
        cells[Column.CPU * CAPACITY + slot] = process_time_ns()
        cells[Column.PRIVATE * CAPACITY + slot] = self._meter.read(monotonic())

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody caught in a task or callback. It ends nothing, but it is never silent."""
        error = context.get("exception")
        self._log.error(
            "worker.exception",
            message=context.get("message"),
            cause=one_line(error) if error is not None else None,
            traceback=user_traceback(error) if error is not None else None,
        )


def _recycle_at(requests: int, jitter: int) -> int:
    """After how many requests this worker asks to be replaced; 0: never."""
    return requests + randint(0, jitter) if requests else 0  # noqa: S311 - spreads load, protects nothing
