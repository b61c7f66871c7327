"""A process that `fairlead run` starts before anything else: by the time that there is a plan and a supervisor, it has
imported what every template and worker needs, and becomes the first of them.

It runs nothing of the app's before its `Begin`, and ends without a word when its channel does.
"""

import os
import sys

# socket itself would cost three times as much as all else that has to be done before the process starts.
from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from typing import TYPE_CHECKING

from fairlead.host.spawn import spawn

if TYPE_CHECKING:
    from fairlead.host.channel import Channel

WAIT = "--wait"


class Forerunner:
    """The process `pid`, and our end of its channel."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def start(cls) -> "Forerunner | None":
        """None when the kernel refuses: then the template is started later, and that is told if it fails as well."""
        try:
            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
            try:
                command = [sys.executable, "-P", "-m", "fairlead.worker", WAIT, str(theirs.fileno())]
                return cls(spawn(command, (theirs.fileno(),)), ours.detach())
            finally:
                theirs.close()
        except OSError:
            return None

    def dismiss(self) -> None:
        """Ends it: there will be no supervisor. Called by its parent, at most once."""
        os.close(self.descriptor)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)

    def begin(self, arguments: tuple[str, ...], descriptors: tuple[int, ...]) -> "Channel | None":
        """Sends it to work; its channel from now on, or None when it is not there any more. At most once."""
        from fairlead.host.channel import MAX_DESCRIPTORS, Channel
        from fairlead.messages import Begin

        channel = Channel.from_descriptor(self.descriptor)
        if len(descriptors) <= MAX_DESCRIPTORS and channel.send(Begin(arguments), descriptors):
            return channel
        channel.close()
        return None
