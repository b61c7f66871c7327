"""What every child of ours does before anything else: whom to run as, which signals, where stacks go, how to die."""

import errno
import faulthandler
import os
import random
import resource
import signal
import sys

# setproctitle would take the environment's memory for a longer title, and with it what operators read in /proc.
os.environ["SPT_NOENV"] = "1"
import setproctitle

del os.environ["SPT_NOENV"]

from fairlead.host import processes
from fairlead.plan.model import Identity, Plan

MOST_OPEN_FILES = 65536
"""Enough for any worker; programs that walk through all possible descriptors are slow with the billion some hosts allow."""


def drop_privileges(identity: Identity | None) -> None:
    """Becomes the user of the plan. OSError when the kernel refuses, or when that user could not import a thing.

    Nothing of the app has run before this.
    """
    if identity is None or (os.geteuid() == identity.uid and os.getegid() == identity.gid):
        return
    os.setgroups(list(identity.groups))
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if not os.access(os.__file__, os.R_OK):
        raise PermissionError(errno.EACCES, f"it may not read Python itself, at {os.__file__}")
    os.environ.update(HOME=identity.home, USER=identity.user, LOGNAME=identity.user)


def settle_in(plan: Plan, title: str, stacks: int, supervisor: int, death_signal: int) -> None:
    """After exec or fork: title, stacks, death with the parent. Ends the process when the supervisor is gone already."""
    setproctitle.setproctitle(f"fairlead: {title} {plan.name}")
    faulthandler.enable(stacks)
    faulthandler.register(processes.DUMP_SIGNAL, file=stacks, all_threads=True, chain=False)
    signal.set_wakeup_fd(-1)
    processes.signal_when_parent_dies(death_signal)
    if os.getppid() != supervisor:
        os._exit(1)  # nobody is left to tell


def raise_open_files() -> None:
    """Lifts the soft limit of open files, which is 1,024 on most machines, to the hard one: a connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def reseed() -> None:
    """Gives a forked process random numbers of its own. Python's `random` does so by itself, numpy's legacy one does not."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
