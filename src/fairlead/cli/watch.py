"""`fairlead status --watch`: the report again every second, until q or Ctrl-C."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.live import Live

from fairlead.cli.output import console
from fairlead.cli.status_view import Rates, render
from fairlead.errors import InputError

INTERVAL = 1.0
"""Seconds between two reports."""


def watch_status(read: Callable[[], dict[str, Any]]) -> None:
    """Shows `read()` on the whole screen until the person ends it. FairleadError when the instance is gone."""
    screen = console()
    if not screen.is_terminal:
        raise InputError("cannot watch: the output is no terminal; allowed: --json, or no --watch")
    report, moment = read(), time.monotonic()
    try:
        with _single_keys() as keyboard, Live(render(report, screen.width), console=screen, screen=True) as live:
            while not _ends(keyboard, INTERVAL):
                before, then = report, moment
                report, moment = read(), time.monotonic()
                rates = Rates.between(before, report, moment - then)
                live.update(render(report, screen.width, rates), refresh=True)
    except KeyboardInterrupt:
        return


@contextmanager
def _single_keys() -> Iterator[int | None]:
    """The keyboard's descriptor, giving every key at once; None when stdin is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _ends(keyboard: int | None, seconds: float) -> bool:
    """Waits `seconds`; True at once when q is pressed."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([keyboard] if keyboard is not None else [], [], [], left)
        # Not by sys.stdin, which would take more keys than it gives, and select() does not see those.
        keys = os.read(keyboard, 64) if ready and keyboard is not None else None
        if keys is not None and (not keys or b"q" in keys.lower()):
            return True
    return False
