import asyncio
from typing import Any

from http_harness import run
from starlette.applications import Starlette
from starlette.routing import Route

from fairlead.worker.traces import user_traceback, waiting_at


def caught(app: Any) -> BaseException:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        """Takes it."""

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "root_path": ""}
    try:
        asyncio.run(app(scope, receive, send))
    except ValueError as error:
        return error.with_traceback(
            error.__traceback__ and error.__traceback__.tb_next
        )  # without this function's frame
    raise AssertionError("nothing was raised")


def test_a_traceback_begins_at_the_apps_first_line() -> None:
    async def handler(request: Any) -> None:
        raise ValueError("broken") from KeyError("cause")

    text = user_traceback(caught(Starlette(routes=[Route("/", handler)])))
    assert "in handler" in text
    assert "site-packages/starlette" not in text
    assert "KeyError: 'cause'" in text


def test_a_traceback_through_libraries_only_is_shown_whole() -> None:
    import json

    def fail() -> BaseException:
        try:
            json.loads("{")
        except ValueError as error:
            error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr] # without this test's own frame
            return error
        raise AssertionError

    assert "json/decoder.py" in user_traceback(fail())


def test_a_task_is_shown_at_the_line_it_waits_at_through_generators_too() -> None:
    async def generator() -> Any:
        await asyncio.Event().wait()
        yield 1

    async def inner() -> None:
        await anext(generator())

    async def scenario() -> None:
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        text = waiting_at(task)
        assert "await anext(generator())" in text
        assert "await asyncio.Event().wait()" in text
        task.cancel()

    run(scenario())
