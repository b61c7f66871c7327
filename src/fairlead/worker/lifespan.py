"""The app's lifespan: one ASGI call that begins before the first request and ends after the last.

Ours rather than uvicorn's, because a start has a deadline and because the exception itself, not only that there was
one, is the answer to whoever asked for the start.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from fairlead.errors import FairleadError
from fairlead.observability.events import EventLog
from fairlead.worker.traces import one_line, user_traceback, waiting_at


class StartFailed(FairleadError):  # noqa: N818 - a start that failed, as in the message
    """The worker cannot serve. `stage`: lifespan, probe; `traceback`: the app's frames, or empty."""

    def __init__(self, stage: str, cause: str, traceback: str = "") -> None:
        super().__init__(cause)
        self.stage = stage
        self.traceback = traceback


class Lifespan:
    """Runs the lifespan protocol. `mode`: auto (an app that does not know it is served without), on, off."""

    def __init__(self, app: Callable[..., Any], mode: str, asgi_version: str, log: EventLog) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._asgi_version = asgi_version
        self._log = log
        self._orders: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self, timeout: float) -> None:
        """Returns when the app has started. StartFailed when it does not."""
        if self._mode == "off":
            return
        self._task = asyncio.ensure_future(self._run())
        answer = await self._ask("lifespan.startup", timeout)
        if answer is None:
            where = waiting_at(self._task)
            await self._stop_waiting()
            raise StartFailed("lifespan", f"startup takes longer than startup.lifespan_timeout = {timeout:g}s", where)
        if answer.get("type") == "lifespan.startup.failed":
            # Starlette raises the exception right after this message; the message carries its text only.
            await asyncio.wait([self._task], timeout=1)
            raise self._failure(str(answer.get("message") or ""))
        if answer.get("type") != "lifespan.startup.complete":
            self._without_lifespan()

    def _without_lifespan(self) -> None:
        """The call ended without an answer: either the app does not know the protocol, or it is broken."""
        error = self._error()
        if self._mode == "on" and error is not None:
            raise self._failure("")
        if error is not None:
            self._log.info("lifespan.unsupported", cause=one_line(error))

    async def shutdown(self, timeout: float) -> None:
        """Lets the app clean up, for at most `timeout` seconds. Says what goes wrong; never raises."""
        if self._task is None:
            return
        answer = None if self._task.done() else await self._ask("lifespan.shutdown", timeout)
        if answer is None and not self._task.done():
            self._log.error("lifespan.shutdown_timeout", after=timeout, traceback=waiting_at(self._task))
            self._task.cancel()
            return
        await asyncio.wait([self._task], timeout=1)
        error = self._error()
        if error is not None and not (answer is None and self._mode == "auto"):
            self._log.error("lifespan.shutdown_failed", cause=one_line(error), traceback=user_traceback(error))

    async def _ask(self, order: str, timeout: float) -> dict[str, Any] | None:
        """The app's answer, `{}` when its call ends without one, None when the time is over."""
        assert self._task is not None  # noqa: S101
        self._answer = asyncio.get_running_loop().create_future()
        self._orders.put_nowait({"type": order})
        either: list[asyncio.Future[Any]] = [self._answer, self._task]
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        return {} if self._task.done() else None

    async def _stop_waiting(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    def _error(self) -> BaseException | None:
        task = self._task
        if task is None or not task.done() or task.cancelled():
            return None
        return task.exception()

    def _failure(self, text: str) -> StartFailed:
        error = self._error()
        if error is not None:
            return StartFailed("lifespan", one_line(error), user_traceback(error))
        last = text.strip().splitlines()[-1:] or ["the app answered that its startup failed"]
        return StartFailed("lifespan", last[0], text)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": self._asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._orders.get, self._send)
        except (SystemExit, KeyboardInterrupt) as error:
            # Either would stop the event loop; it is a failure of the app like any other.
            raise RuntimeError(f"the lifespan raised {one_line(error)}") from error

    async def _send(self, message: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
