"""PYTHONPATH is the app's: a folder of it with a logging.py or token.py would take our own imports, and end every process of ours.

Imports as little as it can: what it imports, such a folder may hold.
"""

import os
import sys
from collections.abc import Mapping

_KEPT = "_FAIRLEAD_PYTHONPATH"
"""What PYTHONPATH was, in the environment of our own processes, until the app is imported."""


def set_aside() -> None:
    """Takes folders with a module named like one of the standard library's out of this process's imports, and its children's."""
    text = os.environ.get("PYTHONPATH", "")
    if not text or _KEPT in os.environ:
        return
    folders = [os.path.abspath(folder) for folder in text.split(os.pathsep)]
    aside = {folder for folder in folders if _shadows(folder)}
    if aside:
        os.environ[_KEPT] = text
        os.environ["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if folder not in aside)
        sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) not in aside]


def restore() -> None:
    """Gives this process PYTHONPATH back, before it imports the app."""
    text = os.environ.get(_KEPT)
    if text is not None:
        variables = for_programs(os.environ)
        del os.environ[_KEPT]
        os.environ.update(variables)
        folders = [os.path.abspath(folder) for folder in text.split(os.pathsep)]
        sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def leave_own_folder() -> None:
    """Does what `python -P` does: no file of the folder of a script, or of the one where a module was started, passes for a
    module. It is the first of the path, unless it was set aside."""
    own = (
        "",
        os.getcwd(),
        os.path.dirname(os.path.abspath(sys.argv[0])),
        os.path.dirname(os.path.realpath(sys.argv[0])),
    )
    if not sys.flags.safe_path and sys.path and sys.path[0] in own:
        del sys.path[0]


def for_programs(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program that is not ours: with PYTHONPATH as it was."""
    variables = dict(environ)
    if (text := variables.pop(_KEPT, None)) is not None:
        variables["PYTHONPATH"] = text
    return variables


def _shadows(folder: str) -> bool:
    """Whether a module in it has a standard name. A folder that holds Fairlead itself is needed, whatever else is in it."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    if "fairlead" in names and os.path.isfile(os.path.join(folder, "fairlead", "host", "pythonpath.py")):
        return False
    return any(
        name.removesuffix(".py") in sys.stdlib_module_names
        and (name.endswith(".py") or os.path.isfile(os.path.join(folder, name, "__init__.py")))
        for name in names
    )
