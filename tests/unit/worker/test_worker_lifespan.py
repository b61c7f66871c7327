import asyncio
from typing import Any

import pytest
from http_harness import TextSink, run

from fairlead.observability.events import EventLog
from fairlead.worker.lifespan import Lifespan, StartFailed


def lifespan(app: Any, mode: str = "auto", sink: TextSink | None = None) -> Lifespan:
    return Lifespan(app, mode, "3.0", EventLog("text", "worker 1", sink or TextSink()))


def well_behaved(said: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["type"], scope["asgi"]["version"]) == ("lifespan", "3.0")
        scope["state"]["made"] = "here"
        for what in ("startup", "shutdown"):
            said.append((await receive())["type"])
            await send({"type": f"lifespan.{what}.complete"})

    return app


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_the_app_starts_and_stops_in_one_call_and_keeps_its_state(mode: str) -> None:
    said: list[str] = []

    async def scenario() -> None:
        made = lifespan(well_behaved(said), mode)
        await made.startup(1)
        assert made.state == {"made": "here"}
        assert said == ["lifespan.startup"]
        await made.shutdown(1)
        assert said == ["lifespan.startup", "lifespan.shutdown"]

    run(scenario())


def test_off_never_calls_the_app() -> None:
    said: list[str] = []

    async def scenario() -> None:
        made = lifespan(well_behaved(said), "off")
        await made.startup(1)
        await made.shutdown(1)
        assert said == []

    run(scenario())


def test_a_failure_that_is_only_a_message_is_told_in_its_words() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback\nValueError: no table"})

    async def scenario() -> None:
        with pytest.raises(StartFailed, match="ValueError: no table") as failure:
            await lifespan(app).startup(1)
        assert failure.value.traceback == "Traceback\nValueError: no table"

    run(scenario())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_app_that_ends_the_process_at_startup_is_a_failure_like_any_other(error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def scenario() -> None:
        with pytest.raises(StartFailed, match=type(error).__name__):
            await lifespan(app, "on").startup(1)

    run(scenario())


def test_an_app_that_ignores_its_cancellation_does_not_hold_up_the_answer() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    async def scenario() -> None:
        with pytest.raises(StartFailed, match="longer than"):
            await asyncio.wait_for(lifespan(app).startup(0.05), 5)
        go.set()

    run(scenario())


def test_a_shutdown_that_fails_or_hangs_is_said_and_ends() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("cannot clean up")

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async def scenario() -> None:
        for app, event in ((fails, "lifespan.shutdown_failed cause='ValueError"), (hangs, "lifespan.shutdown_timeout")):
            sink = TextSink()
            made = lifespan(app, sink=sink)
            await made.startup(1)
            await made.shutdown(0.1)
            assert event in sink.text

    run(scenario())
