"""Imports the app, the way `fastapi run` and uvicorn would, and says clearly why it cannot."""

import contextlib
import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fairlead.host import pythonpath
from fairlead.plan.model import AppPlan
from fairlead.worker.traces import one_line, user_traceback


class LoadError(Exception):
    """The app cannot be had. `cause` in a line, `traceback` the user's frames or empty."""

    def __init__(self, cause: str, traceback: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.traceback = traceback


def load_app(plan: AppPlan) -> tuple[Callable[..., Any], str]:
    """The app and its name ("main:app"). Raises LoadError."""
    pythonpath.restore()
    if plan.dir not in sys.path:
        sys.path.insert(0, plan.dir)
    module = _import(plan)
    attribute = plan.attribute or _find_attribute(module, plan)
    name = f"{plan.module}:{attribute}"
    app: Any = module
    for part in attribute.split("."):
        try:
            app = getattr(app, part)
        except AttributeError:
            raise LoadError(f"cannot find {attribute!r} in {plan.file or plan.module}{_candidates(module)}") from None
    if plan.factory:
        app = _call_factory(app, name)
    if not callable(app):
        raise LoadError(f"cannot serve {name}: it is {type(app).__name__!r}, not an ASGI app")
    return app, name


def code_of(folder: str) -> str:
    """A short text that changes with the files below `folder` that were imported: with their names, sizes and times."""
    inside = os.path.join(os.path.realpath(folder), "")
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    # A folder is resolved once: hundreds of files are in a few dozen, and it takes a look at each of their parents.
    real = {
        place: os.path.join(os.path.realpath(place), "") for place in {os.path.dirname(file) for file in files if file}
    }
    digest = hashlib.sha256()
    for path in sorted(real[os.path.dirname(file)] + os.path.basename(file) for file in files if file):
        if path.startswith(inside) and "site-packages" not in path:
            with contextlib.suppress(OSError):  # taken away meanwhile, which is a change
                target = os.path.realpath(path)
                status = os.stat(target)
                digest.update(f"{target} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _import(plan: AppPlan) -> ModuleType:
    try:
        return importlib.import_module(plan.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == plan.module or plan.module.startswith(missing + "."):
            raise LoadError(f"cannot import {plan.module}: no such module in {plan.dir}") from error
        raise LoadError(f"cannot import {plan.module}: {one_line(error)}", user_traceback(error)) from error
    except SystemExit as error:
        raise LoadError(
            f"cannot import {plan.module}: it called sys.exit({error.code!r})", user_traceback(error)
        ) from error
    except BaseException as error:  # whatever the user's code raises is the answer to why it does not start
        raise LoadError(f"cannot import {plan.module}: {one_line(error)}", user_traceback(error)) from error


def _call_factory(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise LoadError(f"cannot call the factory {name}: it is {type(factory).__name__!r}, not a function")
    try:
        return factory()
    except BaseException as error:
        raise LoadError(
            f"cannot make the app: the factory {name} raised {one_line(error)}", user_traceback(error)
        ) from error


def _find_attribute(module: ModuleType, plan: AppPlan) -> str:
    """`app`, `api`, or the only FastAPI app there is; any ASGI callable of those names when it is another framework's."""
    if plan.factory:
        for name in ("create_app", "make_app", "get_app"):
            if callable(getattr(module, name, None)):
                return name
        raise LoadError(
            f"cannot find the factory in {plan.file or plan.module}: name it, as in {plan.module}:create_app"
        )
    found = _frameworks_apps(module)
    for name in ("app", "api"):
        if name in found:
            return name
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(found))
        raise LoadError(
            f"cannot choose the app in {plan.file or plan.module}: there are {names}; name one: {plan.module}:{found[0]}"
        )
    for name in ("app", "api", "application"):
        if callable(getattr(module, name, None)):
            return name
    raise LoadError(
        f"cannot find an app in {plan.file or plan.module}: no FastAPI instance in it; name it: {plan.module}:NAME"
    )


def _frameworks_apps(module: ModuleType) -> list[str]:
    """The names of FastAPI apps, else of Starlette apps, that the module holds."""
    for package, kind in (("fastapi", "FastAPI"), ("starlette.applications", "Starlette")):
        base = getattr(sys.modules.get(package), kind, None)
        if base is not None:
            names = [name for name, value in vars(module).items() if isinstance(value, base)]
            if names:
                return names
    return []


def _candidates(module: ModuleType) -> str:
    names = _frameworks_apps(module)
    return f"; there is {', '.join(names)}" if names else ""
