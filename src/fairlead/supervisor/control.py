"""The control socket: one request a connection, a line of JSON; any number of progress lines, then one answer.

Request: `{"command": "reload", "arguments": {…}}`. Answers: `{"progress": "…"}` … and at last
`{"ok": true, "result": {…}}` or `{"ok": false, "error": "cannot …", "detail": "…"}`. Whatever a client sends or
leaves unsent, it is told once and let go; the service does not notice.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from fairlead.supervisor.actions import Progress, Reply
from fairlead.supervisor.events import Commanded

LONGEST_REQUEST = 64 * 1024
REQUEST_DEADLINE = 10.0
"""Seconds for the request to arrive, and for each answer to be taken."""
COMMANDS = ("reload", "rollback", "scale", "stop", "reopen", "upgrade")
CERTIFICATE_COMMANDS = {"certs renew": "obtain", "certs revoke": "revoke"}


class Control:
    """Serves the socket. `command` takes what a client asks; `status` gives the report."""

    def __init__(self, path: str, command: Callable[[Commanded], None], status: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._command = command
        self._status = status
        self._clients: dict[int, asyncio.StreamWriter] = {}
        self._next = 1
        self.on_certificates: Callable[[int, str, str | None, bool], None] | None = None
        """Takes (client, obtain or revoke, name, force) of those who want a certificate renewed or revoked."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Opens the socket, mode 0600. Whoever calls this holds the instance's lock, so a socket that is there is stale."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        previous = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LONGEST_REQUEST)
        finally:
            os.umask(previous)

    async def take_over(self, descriptor: int, client: tuple[int, int] | None) -> None:
        """Goes on with the socket of the program before, and with the client that waits for the answer."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=socket.socket(fileno=descriptor), limit=LONGEST_REQUEST
        )
        if client is not None:
            _reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=client[1]))
            self._clients[client[0]] = writer
            self._next = client[0] + 1

    def fileno(self) -> int:
        """The descriptor of the listening socket."""
        assert self._server is not None  # noqa: S101
        return self._server.sockets[0].fileno()

    def connection(self, client: int | None) -> tuple[int, int] | None:
        """A client and the descriptor of its connection; None when it is gone, or there is none."""
        writer = self._clients.get(client) if client is not None else None
        return None if writer is None or client is None else (client, writer.get_extra_info("socket").fileno())

    def stop(self) -> None:
        """Closes the socket and takes it away."""
        if self._server is not None:
            self._server.close()
            self._server = None
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass

    def tell(self, action: Progress | Reply) -> None:
        """A line of progress, or the last line, for a client that may be gone."""
        if isinstance(action, Progress):
            self._write(action.client, {"progress": action.text})
            return
        if action.error:
            answer: dict[str, Any] = {"ok": False, "error": action.error, "detail": action.detail}
        else:
            answer = {"ok": True, "result": action.result}
        self._write(action.client, answer)
        writer = self._clients.pop(action.client, None)
        if writer is not None:
            writer.close()

    def _write(self, client: int, answer: dict[str, Any]) -> None:
        writer = self._clients.get(client)
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > LONGEST_REQUEST:
            writer.transport.abort()  # it does not read: nobody waits for it
            return
        writer.write(json.dumps(answer).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, self._next = self._next, self._next + 1
        self._clients[client] = writer
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                line = await reader.readline()
        except (TimeoutError, ValueError, ConnectionError):
            line = b""
        try:
            self._take(client, line)
            await self._until_gone(reader, client)
        finally:
            self._clients.pop(client, None)
            writer.close()

    async def _until_gone(self, reader: asyncio.StreamReader, client: int) -> None:
        """Waits until the client is answered or has hung up; what it sends after its request is thrown away."""
        while client in self._clients:
            try:
                if not await reader.read(4096):
                    return
            except ConnectionError:
                return

    def _take(self, client: int, line: bytes) -> None:
        try:
            request = json.loads(line)
            name, arguments = str(request["command"]), request.get("arguments") or {}
            workers, now = str(arguments.get("workers", "")), arguments.get("now", False) is True
            certificate, force = arguments.get("certificate"), arguments.get("force", False) is True
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            allowed = 'one line of JSON such as {"command": "status"}, of at most 64 KiB, within 10 s'
            self.tell(Reply(client, error=f"cannot read the request: allowed: {allowed}"))
            return
        if name == "status":
            self.tell(Reply(client, result=self._status()))
        elif name in COMMANDS:
            self._command(Commanded(name, client, workers, now))
        elif name in CERTIFICATE_COMMANDS and self.on_certificates is not None:
            wanted = None if certificate is None else str(certificate)
            self.on_certificates(client, CERTIFICATE_COMMANDS[name], wanted, force)
        else:
            self.tell(
                Reply(
                    client,
                    error=f"cannot run {name!r}: allowed: status, {', '.join((*COMMANDS, *CERTIFICATE_COMMANDS))}",
                )
            )
