"""Finding and reading the configuration file. Standard library only: `fairlead status` needs the name, not the models."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.errors import InputError
from fairlead.lean_dataclass import dataclass

Key = tuple[str, ...]
"""A setting's place, such as ("http", "port")."""

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that was read. `label` is how messages name it; `prefix` is the table ours begins at."""

    path: Path
    label: str
    data: dict[str, Any]
    prefix: Key
    text: str

    @property
    def folder(self) -> Path:
        """Relative paths in the file count from here."""
        return self.path.parent

    def where(self, key: Key) -> str:
        """`fairlead.toml:12`, or only the file when the line is not known."""
        line = _line_of(self.text, self.prefix + key)
        return f"{self.label}:{line}" if line else self.label


def read_config(cwd: Path, environ: Mapping[str, str], explicit: str | None = None) -> ConfigFile | None:
    """The file named by --config or FAIRLEAD_CONFIG, else the one in `cwd`, else None. InputError when unusable."""
    named = explicit if explicit is not None else environ.get("FAIRLEAD_CONFIG")
    if named:
        return _read_named(cwd / named, cwd)
    own, project = cwd / "fairlead.toml", cwd / "pyproject.toml"
    if not (own.exists() or own.is_symlink()):
        return _read_project(project, cwd) if project.is_file() else None
    if project.is_file() and _read_project(project, cwd) is not None:
        raise InputError(
            "cannot choose the configuration: both fairlead.toml and [tool.fairlead] in pyproject.toml are there; "
            "keep one of them, or name one with --config"
        )
    return _read_own(own, cwd)


def _read_named(path: Path, cwd: Path) -> ConfigFile:
    if path.name != "pyproject.toml":
        return _read_own(path, cwd)
    found = _read_project(path, cwd)
    if found is None:
        raise InputError(f"cannot use {_label(path, cwd)}: it has no [tool.fairlead] table")
    return found


def _read_own(path: Path, cwd: Path) -> ConfigFile:
    text = _read_text(path, cwd)
    return ConfigFile(path.absolute(), _label(path, cwd), _parse(text, path, cwd), (), text)


def _read_project(path: Path, cwd: Path) -> ConfigFile | None:
    text = _read_text(path, cwd)
    # A pyproject.toml that never mentions us is not ours to complain about, whatever else is wrong with it.
    if "fairlead" not in text:
        return None
    tool = _parse(text, path, cwd).get("tool", {})
    if not isinstance(tool, dict) or "fairlead" not in tool:
        return None
    if not isinstance(tool["fairlead"], dict):
        raise InputError(f"cannot use {_label(path, cwd)}: tool.fairlead = {tool['fairlead']!r}; allowed: a table")
    return ConfigFile(path.absolute(), _label(path, cwd), tool["fairlead"], ("tool", "fairlead"), text)


def _read_text(path: Path, cwd: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {_label(path, cwd)}: it is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"cannot read the configuration {_label(path, cwd)}: {error.strerror}") from error


def _parse(text: str, path: Path, cwd: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"cannot read {_label(path, cwd)}: {error}") from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, brackets in brackets without end: tomllib lets Python's own errors through.
        raise InputError(f"cannot read {_label(path, cwd)}: it is no sensible TOML ({error})") from error


def _label(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _line_of(text: str, key: Key) -> int | None:
    """The line on which `key`, or the nearest table around it, is written."""
    header: Key = ()
    best, best_length = None, 0
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if match := _HEADER.fullmatch(line.rstrip("\r\n")):
            header = found = _split(match[1])
        elif match := _ASSIGNMENT.match(line):
            found = header + _split(match[1])
        else:
            continue
        # Text that looks like an assignment inside a multi-line string leaves a beginning that does not parse.
        if len(found) > best_length and key[: len(found)] == found and _is_toml("".join(lines[: number - 1])):
            best, best_length = number, len(found)
    return best


def _split(dotted: str) -> Key:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
