"""`import uvicorn` loads its command line too, with click and the supervisors that watch files and start processes: a
third of its import, of which a worker uses nothing. Imported before uvicorn, this leaves that until somebody asks for it.

An app does not notice: the first look at a name of `uvicorn` itself, as in `uvicorn.run`, makes the package complete.
"""

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_NAME = "uvicorn"


class _Lightly(ModuleType):
    """A package whose submodules can be imported while its own code has not run yet."""

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there: before the package's code has run, or while it does.
        self._complete()
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self) from None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "main":
            self._complete()  # it was imported as a submodule: the package has a function of this name in its place

    def __dir__(self) -> list[str]:
        self._complete()
        return sorted(self.__dict__)

    def _complete(self) -> None:
        # Before the lock: who imports this submodule holds its import's own lock, and may be waiting for ours.
        importlib.import_module(f"{_NAME}.main")
        with _lock:
            loader = self.__spec__.loader if self.__spec__ is not None else None
            if type(self) is _Lightly and loader is not None and self not in _under_way:
                _under_way.append(self)
                try:
                    loader.exec_module(self)
                    self.__class__ = ModuleType  # type: ignore[assignment]
                finally:
                    _under_way.remove(self)


_lock = threading.RLock()
_under_way: list[ModuleType] = []


def _prepare() -> None:
    """Puts the package where imports look for it; whoever imported it before keeps it as it is."""
    spec = importlib.util.find_spec(_NAME) if _NAME not in sys.modules else None
    if spec is not None:
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Lightly
        sys.modules[_NAME] = module


_prepare()
