"""What a release is made of, as one short text: code, configuration, installed packages and the steps themselves."""

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator

from fairlead.plan.model import Plan

_CODE = (
    ".py",
    ".toml",
    ".ini",
    ".cfg",
    ".sql",
    ".sh",
    ".mako",
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
)
"""Endings of files that people write, and not the app while it runs."""
_RESOLVED = "fairlead.toml"
"""Not read as a file: what of it changes the release is in the plan, as is what flags, variables and files elsewhere say."""
_WORDS = re.compile(r"""[\s;&|<>()'"=]+""")
"""What parts the words of a shell's command line."""
_LARGEST = 4 * 1024 * 1024
_PROJECT = ("fairlead.toml", "pyproject.toml", "alembic.ini", "requirements.txt", "uv.lock", ".git")
"""What lies in the folder of a project."""
_RECORDS = (".dist-info", ".egg-info")
_SEPARATORS = re.compile(r"[-_.]+")
"""Installers do not agree on them, nor on capitals."""
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


def fingerprint(plan: Plan) -> str:
    """The same on every host that has the same code, configuration, packages and steps."""
    digest = hashlib.sha256()
    digest.update(json.dumps(_configuration(plan), sort_keys=True).encode())
    place = _place(plan)
    for path in sorted({*_code_files(place), *_named_files(plan, place)}):
        digest.update(os.path.relpath(path, place).encode(errors="surrogateescape") + b"\0")
        digest.update(_hash_of(path))
    return digest.hexdigest()[:32]


def _place(plan: Plan) -> str:
    """Where code lies: the folder that the app is imported from or, when the one that steps run in holds it, the nearest one up to
    that which is a project's (an app in `src` has its migrations beside it). Other projects' folders are not looked into."""
    app, cwd = os.path.realpath(plan.app.dir), os.path.realpath(plan.cwd)
    if not _is_below(app, cwd):
        return app
    place = app
    while place != cwd and not any(os.path.exists(os.path.join(place, name)) for name in _PROJECT):
        place = os.path.dirname(place)
    return place if place != "/" else app


def _is_below(path: str, folder: str) -> bool:
    return path != folder and os.path.commonpath((path, folder)) == folder


def _configuration(plan: Plan) -> dict[str, object]:
    """What of the plan makes the release what it is, wherever the settings were written.

    Left out is what depends on the host, and what changes how the app is run but not what it does: where it listens, how
    many workers there are, limits and deadlines, the log, certificates. A change of the port runs no migration.
    """
    return {
        "app": (plan.app.module, plan.app.attribute, plan.app.factory),
        "http": (plan.http.root_path, plan.http.lifespan),
        "steps": [(step.name, step.run, step.env, step.when) for step in plan.steps],
        "companions": [(one.name, one.run, one.env) for one in plan.companions],
        "python": sys.version_info[:3],
        "packages": sorted(_packages(sys.path)),
    }


def _packages(folders: list[str]) -> set[str]:
    """ "name-version" of what is installed there, by the names of the folders that installers keep their records in: these
    are specified, and to read hundreds of files for the same takes longer than all else here.

    Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    found = set()
    for folder in folders:
        with contextlib.suppress(OSError):  # not there, or no folder
            found |= {name.rpartition(".")[0] for name in os.listdir(folder) if name.endswith(_RECORDS)}
    return {_SEPARATORS.sub("-", name).lower() for name in found}


def _code_files(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_code(place, name))
        yield from (os.path.join(place, name) for name in sorted(files) if _is_source(name))


def _named_files(plan: Plan, folder: str) -> Iterator[str]:
    """The programs in the folder that steps and companions name, such as a script without an ending. No data: that changes."""
    commands = [step.run for step in plan.steps] + [companion.run for companion in plan.companions]
    words = {word for command in commands for text in command for word in (text, *_WORDS.split(text)) if word}
    for word in words:
        path = os.path.normpath(os.path.join(os.path.realpath(plan.cwd), word))
        if _is_below(path, folder) and _is_program(path) and _is_ours(path, folder):
            yield path


def _is_ours(path: str, folder: str) -> bool:
    """Whether no folder on the way is one that is left out."""
    *places, _name = os.path.relpath(path, folder).split(os.sep)
    return all(_is_code(os.path.join(folder, *places[:depth]), name) for depth, name in enumerate(places))


def _is_program(path: str) -> bool:
    try:
        if not os.path.isfile(path):
            return False  # to open a pipe would wait for its writer
        with open(path, "rb") as file:
            return os.access(path, os.X_OK) or file.read(2) == b"#!"
    except OSError:
        return False


def _is_source(name: str) -> bool:
    return name.endswith(_CODE) and name != _RESOLVED


def _is_code(place: str, name: str) -> bool:
    """Neither hidden, nor made by Python, nor a virtual environment."""
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))


def _hash_of(path: str) -> bytes:
    """What cannot be read, is too large for code, or is no file counts by its size."""
    try:
        found = os.stat(path)
        size = found.st_size
        if size <= _LARGEST and stat.S_ISREG(found.st_mode):
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        size = -1
    return b"%d" % size
