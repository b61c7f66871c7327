"""All targets by their names."""

from fairlead.errors import InputError
from fairlead.targets import compose, dockerfile, supervisord, systemd
from fairlead.targets.model import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (systemd.TARGET, supervisord.TARGET, dockerfile.TARGET, compose.TARGET)
}


def find_target(name: str) -> Target:
    """The target of that name; InputError names them all."""
    if name not in TARGETS:
        raise InputError(f"cannot export to {name!r}: no such target; allowed: {', '.join(TARGETS)}")
    return TARGETS[name]
