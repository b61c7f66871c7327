"""The forerunner's own side: it waits for what it is to become, see `host/forerunner.py`."""

import os
import select

from fairlead.host import notify
from fairlead.host.activation import take_inherited
from fairlead.host.channel import Channel
from fairlead.messages import Begin
from fairlead.worker.uvicorn_adapter import import_loop


def wait(descriptor: int) -> list[str] | None:
    """The arguments that a process has which is started by the supervisor; None when nobody wants it any more."""
    os.set_inheritable(descriptor, False)
    _leave_to_the_parent()
    import_loop("auto")  # what nearly everybody has; there is time for it now
    channel = Channel.from_descriptor(descriptor)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll()
    received = channel.receive()
    if received is None:
        return None
    order, (plan, *rest) = received
    if not isinstance(order, Begin):
        raise TypeError(f"cannot begin with {type(order).__name__}")
    return [",".join(map(str, [plan, channel.detach(), *rest])), *order.arguments]


def _leave_to_the_parent() -> None:
    """What the service manager gave is the supervisor's: who holds a listening socket keeps it open."""
    for inherited in take_inherited(os.environ, os.getppid()):
        inherited.sock.close()
    for name in notify.VARIABLES:
        os.environ.pop(name, None)
