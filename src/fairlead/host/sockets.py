"""Listening sockets: made once, kept open until the end."""

import errno
import os
import socket
import stat
import sys

from fairlead.errors import InputError

_CAUSES = {
    errno.EADDRINUSE: "the address is taken by another process",
    errno.EACCES: "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENOENT: "the folder does not exist",
}


def listen_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket, non-blocking. InputError names the address and the cause.

    The protocol number is given explicitly: asyncio sets TCP_NODELAY only on sockets that have one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except socket.gaierror as error:
        sock.close()
        raise InputError(f"cannot listen on {address}: no such host ({error.strerror})") from error
    except (OSError, OverflowError) as error:
        sock.close()
        raise InputError(f"cannot listen on {address}: {_cause(error)}") from error
    sock.setblocking(False)
    return sock


def listen_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """A listening unix socket with `mode`. A stale socket file (nobody answers) is replaced, anything else refused."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # Until the mode is set, nobody else may connect: bind with all permissions masked.
        previous = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(previous)
        os.chmod(path, mode)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        cause = "permission denied" if error.errno == errno.EACCES else _cause(error)
        raise InputError(f"cannot listen on unix:{path}: {cause}") from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            os.unlink(path)
            return
        except OSError:
            pass
    raise OSError(errno.EADDRINUSE, "another process answers on it")


def listen_inherited(descriptor: int) -> socket.socket:
    """The listening socket that was inherited as `descriptor`; it stays open in the parent's hands as well."""
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise OSError(errno.EINVAL, "it is a socket that does not listen")
    except OSError as error:
        raise InputError(f"cannot listen on fd:{descriptor}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def has_ipv6() -> bool:
    """Whether this host can listen on IPv6 at all."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def describe(sock: socket.socket, scheme: str = "http") -> str:
    """The address as people write it, with the port the kernel chose."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"


def shut(sock: socket.socket) -> None:
    """Stops listening in every process that shares the socket, and closes it here."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _CAUSES and "proc" not in str(error.strerror):
        return _CAUSES[error.errno]
    return str(getattr(error, "strerror", None) or error)


_ACCEPT_QUEUE = 24
"""Where struct tcp_info has tcpi_unacked; of a listening socket that is the length of its accept queue."""


def queued_connections(sock: socket.socket) -> int:
    """How many connections wait to be accepted; 0 where the kernel does not tell, as for unix sockets."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACCEPT_QUEUE + 4)
    except OSError:
        return 0
    return int.from_bytes(info[_ACCEPT_QUEUE:], sys.byteorder)
