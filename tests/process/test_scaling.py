"""Workers that follow a real load."""

import asyncio
import time

import pytest
from service import Service

from fairlead.testing.load_client import LoadClient, Mix
from fairlead.testing.wire import Target

APP = """
    import os, time
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/echo/{token}")
    async def echo(token: str):
        time.sleep(0.01)  # a loop that is busy without using the CPU, so that the test says the same on any machine
        return {"token": token, "pid": os.getpid()}
"""
CONFIG = """
    [replication]
    workers = { min = 1, max = 3, calm = "1s" }
    [restarts]
    idle_grace = "300ms"
    drain_timeout = "3s"
"""


@pytest.fixture
def scaled(service: Service) -> Service:
    service.write(APP)
    service.configure(CONFIG)
    return service.start("--no-access-log")


def cycle(service: Service, seconds: float) -> tuple[float, dict[str, int]]:
    """Seconds from the step in load to the first extra worker that serves, and what was lost until it was calm again."""

    async def run() -> tuple[float, dict[str, int]]:
        since = service.mark()
        async with LoadClient(Target("127.0.0.1", service.port), Mix(16, 4, 0, 0, 0, pause=0.01)) as client:
            began = time.monotonic()
            await asyncio.to_thread(service.wait_for, "worker.serving", since)
            met = time.monotonic() - began
            await asyncio.sleep(seconds)
        return met, client.tally.losses_by_reason()

    return asyncio.run(run())


def test_step_in_load_is_met_by_another_worker_and_calm_takes_it_away(scaled: Service) -> None:
    met, lost = cycle(scaled, 1.0)
    print(f"the first extra worker served {met:.2f} s after the step in load")
    assert lost == {}
    assert met < 3.0
    up = scaled.wait_for("scale.up")
    assert up["before"] == 1
    assert up["busy"].endswith("%")
    scaled.wait_for("scale.down")
    scaled.wait_until(lambda: len(scaled.serving()) == 1, "one worker is left")


@pytest.mark.slow
def test_ten_cycles_up_and_down_lose_nothing(scaled: Service) -> None:
    times = []
    for _ in range(10):
        met, lost = cycle(scaled, 0.5)
        times.append(met)
        assert lost == {}
        scaled.wait_until(lambda: len(scaled.serving()) == 1 == len(scaled.status()["workers"]), "one worker is left")
    print(f"the first extra worker served after {min(times):.2f} to {max(times):.2f} s")
    assert sorted(times)[5] < 2.0
