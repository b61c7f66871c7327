"""Whether a process may be forked after the import: threads do not survive a fork, and sockets would be shared."""

import os
import socket
import threading


def open_sockets() -> dict[int, str]:
    """Descriptor → kernel name of every socket this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found[int(name)] = target
    return found


def unsafe_to_fork(before: dict[int, str]) -> tuple[str, ...]:
    """The names of what makes forking unsafe: Python threads, and sockets that were not open `before` the import."""
    threads = [f"thread {thread.name}" for thread in threading.enumerate() if thread is not threading.main_thread()]
    sockets = [describe_socket(number) for number, name in open_sockets().items() if before.get(number) != name]
    return (*threads, *sockets)


def describe_socket(descriptor: int) -> str:
    """ "socket 12 to 10.0.0.5:5432", as far as the kernel tells."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            try:
                return f"socket {descriptor} to {_address(sock.getpeername())}"
            except OSError:
                return f"socket {descriptor} at {_address(sock.getsockname())}"
    except OSError:
        return f"socket {descriptor}"


def _address(name: object) -> str:
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    return str(name) if name else "an unnamed peer"
