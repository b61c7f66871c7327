"""Giving root up. Standard library only."""

import os


def become(identity: tuple[int, ...]) -> None:
    """Becomes (uid, gid, groups…), when this is root and there is somebody to become."""
    if identity and os.geteuid() == 0:
        uid, gid, *groups = identity
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
