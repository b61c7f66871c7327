"""A channel between two of our processes: messages as datagrams, descriptors beside them, end of file means gone."""

import array
import os
import select
import socket

from fairlead.messages import MAX_MESSAGE, Message, decode, encode

MAX_DESCRIPTORS = 64
"""In one message. The kernel would take 253."""


class Channel:
    """One end of a SOCK_SEQPACKET pair, non-blocking. `fileno()` becomes readable when a message or the end is there."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    @staticmethod
    def pair() -> tuple["Channel", socket.socket]:
        """Our end, and the other end as a bare socket to hand to a child."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(ours), theirs

    @staticmethod
    def from_descriptor(descriptor: int) -> "Channel":
        """The channel of an inherited or received descriptor, which it owns from now on."""
        return Channel(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> bool:
        """Sends without blocking. False when the other side is gone or does not read: then it is being dealt with anyway."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([encode(message)], ancillary)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors; None at the end of the channel.

        Raises BlockingIOError when nothing is there, ValueError when it is not a message.
        """
        size = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(MAX_MESSAGE + 1, size, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return None
        descriptors = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        if not data:
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        return decode(data), list(descriptors)

    def is_over(self) -> bool:
        """Whether the other side is gone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLHUP)
        return bool(poll.poll(0))

    def detach(self) -> int:
        """The descriptor, which this object forgets."""
        return self._socket.detach()

    def close(self) -> None:
        """Closes our end; the other side reads the end of the channel."""
        self._socket.close()
