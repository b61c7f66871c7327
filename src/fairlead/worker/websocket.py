"""uvicorn's WebSocket protocol, counted, logged, and told when the worker leaves."""

import asyncio
from time import monotonic
from typing import Any

from fairlead.worker.access_log import escape
from fairlead.worker.sockets import ClosedOnce
from fairlead.worker.state import WorkerState
from fairlead.worker.uvicorn_adapter import AutoWebSocketsProtocol

_STATUS = {"websocket.accept": 101, "websocket.close": 403}


class _Watched:
    """Mixed into the protocol that uvicorn chooses. See state.Call and state.Connection: it is both."""

    kind = "websocket"
    complete = False
    task: "asyncio.Task[None] | None" = None
    status = 0

    def __init__(self, config: Any, server_state: WorkerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)  # type: ignore[call-arg]
        self._state = server_state
        self._inner: Any = self.app  # type: ignore[has-type]
        self.app = self._watch

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        closes = ClosedOnce(transport) if transport.get_extra_info("ssl_object") is not None else transport
        super().connection_made(closes)  # type: ignore[misc]
        self._state.websocket(1)
        self._tls = self._state.extensions(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[misc]
        self._state.websocket(-1)
        self._state.closed()

    async def _watch(self, scope: Any, receive: Any, send: Any) -> Any:
        state = self._state
        self.task = asyncio.current_task()
        self.scope = scope
        if self._tls is not None:
            scope.setdefault("extensions", {})["tls"] = self._tls
        state.calls.add(self)
        if state.draining:
            state.on_stream(self)
        began = monotonic()

        async def observe(message: Any) -> None:
            if not self.status:
                self.status = message.get("status") or _STATUS.get(message["type"], 0)
            await send(message)

        try:
            return await self._inner(scope, receive, observe)
        finally:
            state.calls.discard(self)
            self.task = None
            self._log(scope, began)

    def _log(self, scope: Any, began: float) -> None:
        if self._state.access is not None:
            peer = escape("{}:{}".format(*scope["client"])) if scope["client"] else "-"
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            self._state.access.add(peer, "GET", target, "1.1", self.status or 500, began, monotonic())

    # state.Call

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    def tell(self) -> bool:
        """Sends 1012 (service restart). A handshake that is under way comes first."""
        if not self.handshake_complete:  # type: ignore[attr-defined]
            return False
        self.shutdown()  # type: ignore[attr-defined]
        return True

    def end(self) -> None:
        """Nothing: the client was told, what is left is the app's clearing up."""

    def cut(self) -> None:
        self.transport.abort()  # type: ignore[attr-defined]
        if self.task is not None:
            self.task.cancel()

    # state.Connection

    def idle_since(self) -> float:
        return 0.0

    def used(self) -> bool:
        return True

    def look(self, now: float) -> None:
        """Nothing: uvicorn's pings find those who are gone."""

    def close_idle(self) -> None:
        """Never idle."""

    def abort(self) -> None:
        self.transport.abort()  # type: ignore[attr-defined]


def websocket_protocol() -> type[asyncio.Protocol] | None:
    """The class for WebSocket connections: uvicorn's choice among what is installed, or None."""
    base: Any = AutoWebSocketsProtocol
    return None if base is None else type("WebSocketProtocol", (_Watched, base), {})
