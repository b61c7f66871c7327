"""Tracebacks as the app's author wants them: from the app's own first line on."""

import asyncio
import gc
import importlib
import inspect
import sysconfig
import traceback
from pathlib import PurePath
from typing import Any

import fairlead

_OURS = (str(PurePath(fairlead.__file__).parent), "fairlead/worker/http1/")
"""The second is what compiled modules call themselves."""
_MACHINERY = ("<frozen ", importlib.__file__)
_PYTHON = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_PACKAGES = ("site-packages", "dist-packages")


def user_traceback(error: BaseException) -> str:
    """The traceback's text, chained causes included, without the frames of Fairlead and of Python's import machinery,
    and without those of the framework on the way to the app's first line."""
    trace = traceback.TracebackException.from_exception(error, limit=None)
    _strip(trace, set())
    return "".join(trace.format())


def _strip(trace: traceback.TracebackException | None, seen: set[int]) -> None:
    if trace is None or id(trace) in seen:
        return
    seen.add(id(trace))
    frames = [frame for frame in trace.stack if not frame.filename.startswith((*_OURS, *_MACHINERY))]
    trace.stack = traceback.StackSummary.from_list(_from_first_line(frames))
    _strip(trace.__cause__, seen)
    _strip(trace.__context__, seen)
    for part in getattr(trace, "exceptions", None) or ():
        _strip(part, seen)


def _from_first_line(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """`frames` from the first that is no library's; all, when there is none."""
    for index, frame in enumerate(frames):
        if not _is_library(frame.filename):
            return frames[index:]
    return frames


def _is_library(filename: str) -> bool:
    return filename.startswith(_PYTHON) or any(part in _PACKAGES for part in PurePath(filename).parts)


def one_line(error: BaseException) -> str:
    """ "ValueError: no such thing": what the error is, in a line."""
    text = "".join(traceback.format_exception_only(error)).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def waiting_at(task: "asyncio.Task[Any]") -> str:
    """Where a suspended task waits, as the frames of a traceback, from the app's first line on."""
    frames = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_OURS):
            frames.append((frame, frame.f_lineno))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None) or _generator_of(awaited)
    stack = traceback.StackSummary.extract(iter(frames))
    return "".join(traceback.StackSummary.from_list(_from_first_line(list(stack))).format())


def _generator_of(awaited: Any) -> Any:
    """The async generator behind `anext()`: Python names it to its garbage collector only."""
    if type(awaited).__name__ != "async_generator_asend":
        return None
    return next((item for item in gc.get_referents(awaited) if inspect.isasyncgen(item)), None)
