"""The listening sockets of all releases, by what the configuration calls them."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from fairlead.host import sockets
from fairlead.host.activation import Inherited, address_of
from fairlead.host.notify import STORED
from fairlead.plan.model import Bind, Plan
from fairlead.supervisor.succession import Held


class Listeners:
    """Opens each place once; releases that name the same place share its socket, whatever they speak there.

    A place where one of the `inherited` sockets listens takes that one. `on_open` hears of every socket opened here.
    """

    def __init__(
        self, inherited: Sequence[Inherited] = (), on_open: Callable[[socket.socket], None] = lambda _sock: None
    ) -> None:
        self._sockets: dict[Bind, socket.socket] = {}
        self._inherited = {given.address: given for given in inherited}
        self._lent: set[Bind] = set()
        """Places whose socket somebody else holds too, and keeps when we leave."""
        self._on_open = on_open
        self._speaks: dict[Bind, str] = {}

    def open(self, plan: Plan) -> list[socket.socket]:
        """The sockets of a plan, in its order. InputError when one cannot be had; those opened by this call are closed again."""
        opened: list[Bind] = []
        try:
            for bind in map(_place, plan.binds):
                if bind not in self._sockets:
                    self._sockets[bind] = self._listen(bind)
                    opened.append(bind)
        except Exception:
            for bind in opened:
                self._close(bind)
            raise
        self._speaks.update({_place(bind): bind.speaks for bind in plan.binds})
        return [self._sockets[_place(bind)] for bind in plan.binds]

    def keep_only(self, plans: tuple[Plan, ...]) -> list[str]:
        """Closes what no plan names any more; returns its names."""
        wanted = {_place(bind) for plan in plans for bind in plan.binds}
        gone = [bind for bind in self._sockets if bind not in wanted]
        for bind in gone:
            self._close(bind)
        return [str(bind) for bind in gone]

    def close_all(self) -> None:
        """Closes everything for good."""
        for bind in list(self._sockets):
            self._close(bind)

    def sockets(self) -> list[socket.socket]:
        """All that are open."""
        return list(self._sockets.values())

    def names(self) -> list[str]:
        """Where the service can be reached, as people write it."""
        return [
            sockets.describe(sock, "https" if self._speaks[bind] == "https" else "http")
            for bind, sock in self._sockets.items()
        ]

    def held(self) -> list[Held]:
        """All sockets, for a successor."""
        held = [
            Held(sock.fileno(), bind, bind in self._lent, self._speaks[bind]) for bind, sock in self._sockets.items()
        ]
        return held + [Held(given.sock.fileno(), name=given.name) for given in self._inherited.values()]

    def take_over(self, listeners: Sequence[Held]) -> None:
        """The sockets of the program before."""
        for held in listeners:
            sock = socket.socket(fileno=held.descriptor)
            if held.bind is None:
                given = Inherited(held.name, sock)
                self._inherited[given.address] = given
            else:
                self._sockets[held.bind] = sock
                self._speaks[held.bind] = held.speaks
                self._lent |= {held.bind} if held.lent else set()

    def unclaimed(self) -> list[str]:
        """Inherited sockets that no place of the plans so far is."""
        return [sockets.describe(given.sock) for given in self._inherited.values()]

    def _listen(self, bind: Bind) -> socket.socket:
        given = self._take_inherited(bind)
        if given is not None:
            if given.name != STORED:
                self._lent.add(bind)
            return given.sock
        sock = _listen(bind)
        self._on_open(sock)
        return sock

    def _take_inherited(self, bind: Bind) -> Inherited | None:
        if bind.kind == "fd" or not self._inherited:
            return None
        try:
            address = address_of(bind.kind, bind.host, bind.port, bind.path)
        except OSError:
            return None  # opening it says what is wrong
        return self._inherited.pop(address, None)

    def _close(self, bind: Bind) -> None:
        sock = self._sockets.pop(bind)
        if bind in self._lent or bind.kind == "fd":
            self._lent.discard(bind)
            sock.close()  # whoever gave it to us may go on with it
            return
        sockets.shut(sock)
        if bind.kind == "unix":
            try:
                os.unlink(bind.path)
            except OSError:
                pass


def _place(bind: Bind) -> Bind:
    return replace(bind, speaks="http")


def _listen(bind: Bind) -> socket.socket:
    if bind.kind == "unix":
        return sockets.listen_unix(bind.path, bind.mode, bind.backlog)
    if bind.kind == "fd":
        return sockets.listen_inherited(bind.fd)
    return sockets.listen_tcp(bind.host, bind.port, bind.backlog)
