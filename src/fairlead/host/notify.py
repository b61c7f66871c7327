"""Talking to the service manager: sd_notify's protocol, datagrams of NAME=value lines. Standard library only."""

import array
import socket
from collections.abc import Iterable, MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
STORED = "fairlead"
"""The name that sockets have which we gave to the service manager to keep."""


class ServiceManager:
    """The manager's notification socket. `watchdog`: seconds within which it wants to hear from us, or None."""

    def __init__(self, address: str, watchdog: float | None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.watchdog = watchdog

    def tell(self, lines: Iterable[str], descriptors: tuple[int, ...] = ()) -> bool:
        """Sends without blocking; False when nobody takes it. A manager that is not there must not end a service."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg(["\n".join(lines).encode()], ancillary, 0, self._address)
        except OSError:
            return False
        return True

    def keep(self, descriptor: int) -> bool:
        """Has the manager hold a listening socket, so that it stays open should we end unasked."""
        return self.tell(["FDSTORE=1", f"FDNAME={STORED}"], (descriptor,))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a program that takes our place finds the manager again."""
        watch = {} if self.watchdog is None else {"WATCHDOG_USEC": str(int(self.watchdog * 1e6))}
        return {"NOTIFY_SOCKET": self._address.replace("\0", "@", 1), **watch}

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()


def take_manager(environ: MutableMapping[str, str], pid: int) -> ServiceManager | None:
    """The service manager that started us, if one did. Takes its variables out of `environ`: they are not for children."""
    address, microseconds, meant = (environ.pop(name, "") for name in VARIABLES)
    if address[:1] not in ("/", "@"):
        return None
    watched = microseconds.isdecimal() and meant in ("", str(pid))
    return ServiceManager(address, int(microseconds) / 1e6 if watched else None)
