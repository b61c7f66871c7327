"""An app that holds much in memory, built at import: a 512 MB array and 400,000 entries in a dict.

TABLE_MB and TABLE_ENTRIES make it smaller (for --quick).
"""

import os
import random

import numpy
from fastapi import FastAPI
from pydantic import BaseModel
from release import RELEASE  # type: ignore[import-not-found]

_ENTRIES = int(os.environ.get("TABLE_ENTRIES", "400000"))
_ROWS = int(os.environ.get("TABLE_MB", "512")) * 1_000_000 // (128 * 4)

vectors = numpy.random.default_rng(1).random((_ROWS, 128), dtype=numpy.float32)
names = {number: (f"product {number}", number * 7 % _ROWS) for number in range(_ENTRIES)}
app = FastAPI()


class Entry(BaseModel):
    """What `/lookup` answers."""

    name: str
    score: float


class Who(BaseModel):
    """Who answered: the worker's pid, and the release of the code in it."""

    token: str
    pid: int
    release: str


@app.get("/lookup")
async def lookup(even: bool = False) -> Entry:
    """An entry and its vector, so that both the dict and the array are read: some entries far more often than others,
    as it is with products and users (Zipf's law), or `even`: all alike.
    """
    number = random.randrange(_ENTRIES) if even else int(_ENTRIES ** random.random()) - 1
    name, row = names[number]
    return Entry(name=name, score=float(vectors[row].sum()))


@app.get("/echo/{token}")
async def echo(token: str) -> Who:
    """Who answered which request."""
    return Who(token=token, pid=os.getpid(), release=RELEASE)
