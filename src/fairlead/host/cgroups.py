"""Where the kernel tells what this process's cgroup, and those above it, may have: v1 and v2."""

import re
from collections.abc import Iterator
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


def places(controller: str, root: Path = Path("/"), process: int | str = "self") -> Iterator[Path]:
    """The folders of a process's cgroup and of all above it, nearest first, in every hierarchy with the controller."""
    for mount, group in _groups(controller, root, process):
        folder = root / group.relative_to("/")
        top = root / mount.relative_to("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            yield place


def _groups(controller: str, root: Path, process: int | str) -> Iterator[tuple[Path, Path]]:
    """(mount point, folder of the process's cgroup) of every hierarchy that has the controller."""
    own = _own_groups(root, process)
    for line in lines(root / "proc/self/mountinfo"):
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        kind, _source, options = fields[fields.index("-", 6) + 1 :][:3]
        name = "" if kind == "cgroup2" else controller
        if kind != "cgroup2" and not (kind == "cgroup" and controller in options.split(",")):
            continue
        if name in own:
            mount, shown = Path(_unescaped(fields[4])), Path(_unescaped(fields[3]))
            yield mount, _below(mount, shown, own[name])


def _own_groups(root: Path, process: int | str) -> dict[str, Path]:
    """Controller → cgroup path of the process; v2 is the controller ""."""
    groups = {}
    for line in lines(root / f"proc/{process}/cgroup"):
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = Path(path)
    return groups


def _below(mount: Path, shown: Path, group: Path) -> Path:
    """The folder of `group` under a mount that shows the hierarchy from `shown` on.

    In a container without a cgroup namespace of its own, `group` is the host's path and `shown` its container's; a
    group outside of what is shown (`/../other`) is read at the mount point, the nearest that can be seen.
    """
    if not group.is_relative_to(shown) or ".." in group.parts:
        return mount
    return mount / group.relative_to(shown)


def lines(path: Path) -> list[str]:
    """The file's lines; none when it is not there: a kernel without this cgroup version is no error."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
