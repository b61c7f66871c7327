"""Listening sockets that were opened before us: the service manager's LISTEN_FDS."""

import os
import socket
from collections.abc import Iterator, MutableMapping

from fairlead.lean_dataclass import dataclass

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
FIRST = 3

Address = tuple[str, str, int]
"""("tcp", "127.0.0.1", 8000) or ("unix", "/run/app.sock", 0)."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket and the name that its giver has for it."""

    name: str
    sock: socket.socket

    @property
    def address(self) -> Address:
        """Where it listens."""
        place = self.sock.getsockname()
        return ("unix", str(place), 0) if self.sock.family == socket.AF_UNIX else ("tcp", place[0], place[1])


def take_inherited(environ: MutableMapping[str, str], pid: int, first: int = FIRST) -> list[Inherited]:
    """The sockets meant for process `pid`. Takes the variables out of `environ`: they are not for children."""
    meant, count, names = (environ.pop(name, "") for name in VARIABLES)
    if meant != str(pid) or not count.isdecimal():
        return []
    called = names.split(":") + [""] * int(count)
    return list(_listening((first + number, called[number]) for number in range(int(count))))


def _listening(descriptors: Iterator[tuple[int, str]]) -> Iterator[Inherited]:
    for descriptor, name in descriptors:
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
        except OSError:
            continue  # not a socket: somebody else's business
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setblocking(False)
            yield Inherited(name, sock)
        else:
            sock.detach()


def address_of(kind: str, host: str, port: int, path: str) -> Address:
    """The address that a socket bound to this place shows. OSError when the host is not known."""
    if kind == "unix":
        return ("unix", path, 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
    return ("tcp", str(found[0]), int(found[1]))
