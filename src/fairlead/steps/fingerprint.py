"""What a release is made of, as one short text: code, configuration, installed packages and the steps themselves."""

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator

from fairlead.plan.model import Plan

_CODE = (".py", ".toml", ".ini", ".cfg", ".sql", ".mako", "requirements.txt", "uv.lock", "poetry.lock", "pdm.lock")
"""Endings of files that people write, and not the app while it runs."""
_RESOLVED = "fairlead.toml"
"""Not read as a file: what of it changes the release is in the plan, as is what flags, variables and files elsewhere say."""
_LARGEST = 4 * 1024 * 1024
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


def fingerprint(plan: Plan) -> str:
    """The same on every host that has the same code, configuration, packages and steps."""
    digest = hashlib.sha256()
    digest.update(json.dumps(_configuration(plan), sort_keys=True).encode())
    for path in _code_files(plan.app.dir):
        digest.update(os.path.relpath(path, plan.app.dir).encode(errors="surrogateescape") + b"\0")
        digest.update(_hash_of(path))
    return digest.hexdigest()[:32]


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
        "packages": sorted(f"{item.name}=={item.version}" for item in importlib.metadata.distributions()),
    }


def _code_files(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_code(place, name))
        yield from (os.path.join(place, name) for name in sorted(files) if _is_source(name))


def _is_source(name: str) -> bool:
    return name.endswith(_CODE) and name != _RESOLVED


def _is_code(place: str, name: str) -> bool:
    """Neither hidden, nor made by Python, nor a virtual environment."""
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))


def _hash_of(path: str) -> bytes:
    """A file that cannot be read, or is too large for code, counts by its size."""
    try:
        size = os.stat(path).st_size
        if size <= _LARGEST:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        size = -1
    return b"%d" % size
