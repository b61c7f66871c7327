"""Starting a program of ours. A module of its own because `fairlead run` does so first of all, and imports little for it."""

import os

SETTABLE_SIGNALS = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]
"""Linux's signals but for KILL and STOP, which nobody can set, and the two that the C library keeps for itself."""


def spawn(command: list[str], inherit: tuple[int, ...], standard: dict[int, int] | None = None) -> int:
    """Starts a program with `inherit` descriptors under the same numbers and stdin from nowhere; returns its pid.

    It leads a process group of its own, so that a terminal's Ctrl-C reaches the supervisor alone. `standard` maps
    a descriptor of the child (0, 1, 2) to one of ours. Raises OSError. posix_spawn does not copy the parent's memory
    maps and, unlike subprocess, leaves the reaping to us.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, ours, child) for child, ours in (standard or {}).items()]
    for descriptor in inherit:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=SETTABLE_SIGNALS,
        )
    finally:
        for descriptor in inherit:
            os.set_inheritable(descriptor, False)
