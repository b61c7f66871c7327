"""What the garbage collector costs a fork of an app that holds much: `python collects.py frozen|plain tuned|default REQUESTS`.

Prints JSON: CPU µs per request, bytes that the fork holds for itself alone afterwards, collections. A request makes 1,000
objects with a list and a dict each, as one that reads rows from a database does. ENTRIES: how many the app holds.
"""

import asyncio
import gc
import json
import os
import sys

from bare_call import call  # type: ignore[import-not-found]
from fastapi import FastAPI

from fairlead.host.memory import read_memory
from fairlead.worker.template import GC_THRESHOLDS

names = {number: (f"product {number}", [number]) for number in range(int(os.environ["ENTRIES"]))}
app = FastAPI()


class _Row:
    def __init__(self, number: int) -> None:
        self.number, self.tags, self.fields = number, [number], {"number": number}


@app.get("/rows")
async def rows() -> int:
    """A sum over many small objects."""
    return sum(row.number for row in [_Row(number) for number in range(1000)])


async def _measure(requests: int) -> dict[str, float]:
    await call(app, "/rows", requests // 10)
    before = sum(generation["collections"] for generation in gc.get_stats())
    micros = await call(app, "/rows", requests) / requests * 1e6
    collections = sum(generation["collections"] for generation in gc.get_stats()) - before
    reading = read_memory("self")
    return {"micros": micros, "private": reading.uss if reading else 0, "collections": collections}


def _main(frozen: bool, tuned: bool, requests: int) -> None:
    gc.collect()
    if frozen:
        gc.freeze()
    if tuned:
        gc.set_threshold(*GC_THRESHOLDS)
    if os.fork() == 0:
        print(json.dumps(asyncio.run(_measure(requests))), flush=True)
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    _main(sys.argv[1] == "frozen", sys.argv[2] == "tuned", int(sys.argv[3]))
