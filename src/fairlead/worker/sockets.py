"""Small questions to a connection's socket."""

import array
import asyncio
import fcntl
import termios


def bytes_are_waiting(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes of the peer that nobody has read: closing now would lose a request on its way."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    count = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    except OSError:
        return False
    return count[0] > 0
