"""Small questions to a connection's socket."""

import array
import asyncio
import fcntl
import termios
from typing import Any


def close_once(transport: asyncio.Transport) -> None:
    """Closes it, unless that has begun: asyncio's TLS transports know nothing of their connection after a second time."""
    if not transport.is_closing():
        transport.close()


class ClosedOnce:
    """A TLS transport for protocols of uvicorn's, which close twice. See `close_once`."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.write = transport.write
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """As every transport's."""
        close_once(self._transport)


def bytes_unsent(transport: asyncio.Transport) -> tuple[int, int]:
    """How many bytes of ours the peer has not got: in the transport, and in the kernel. The kernel takes from the former in
    large steps, so that a slow peer moves the latter only."""
    return transport.get_write_buffer_size(), _ask(transport, termios.TIOCOUTQ)


def bytes_are_waiting(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes of the peer that nobody has read: closing now would lose a request on its way."""
    return _ask(transport, termios.FIONREAD) > 0


def _ask(transport: asyncio.Transport, request: int) -> int:
    """The kernel's answer, a number of bytes; 0 when the socket is gone."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return 0
    count = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), request, count)
    except OSError:
        return 0
    return count[0]
