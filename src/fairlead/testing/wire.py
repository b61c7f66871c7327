"""HTTP/1.1 and WebSocket as a client sees them on the wire, so that every way of losing a request has a name.

Client libraries do not tell "sent and never answered" from "reset" from "cut short", and most retry in silence; that
difference is what the load client is for. Standard library only.
"""

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from ssl import SSLContext

from fairlead.lean_dataclass import dataclass

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_LIMIT = 1 << 20
_GOODBYE = 2.0


class Reason(StrEnum):
    """Why a request was lost."""

    REFUSED = "refused"
    """No connection could be made."""
    UNANSWERED = "sent and not answered"
    """The server closed the connection in order, without a byte of the answer."""
    RESET = "reset"
    """The connection was reset after the request was sent, or while the answer came."""
    TRUNCATED = "truncated"
    """The answer began, and ended before its own framing says so."""
    WRONG = "wrong answer"
    """A complete answer that is not the one to this request: its status, its content, or not HTTP at all."""
    TIMEOUT = "no answer in time"


class LostError(Exception):
    """A request was lost. Raised by every method of a connection that waits, and nothing else is."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to. `ssl` None: plain."""

    host: str
    port: int
    ssl: SSLContext | None = None
    server_hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers (names in lower case) of an answer."""

    status: int
    headers: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        """False when the server said `Connection: close`."""
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One connection, speaking HTTP/1.1 until `upgrade` makes it a WebSocket."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        """A new connection."""
        try:
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.ssl, server_hostname=target.server_hostname, limit=_LIMIT
            )
        except ConnectionResetError as error:
            raise LostError(Reason.RESET, "while connecting") from error
        except OSError as error:
            raise LostError(Reason.REFUSED, str(error)) from error
        return cls(target, reader, writer)

    @property
    def closed_by_server(self) -> bool:
        """The server has closed the connection; when nothing was under way on it, nothing is lost: connect again."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def close(self) -> None:
        """Closes our side, and waits until it is: with TLS the server has its say. Cut when that takes more than two seconds."""
        self._writer.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # what became of the request is known by now
        finally:
            self._writer.transport.abort()

    async def get(self, path: str, *headers: str) -> tuple[Head, bytes]:
        """One complete request and answer."""
        head = await self.get_head(path, *headers)
        return head, b"".join([part async for part in self.body(head)])

    async def get_head(self, path: str, *headers: str) -> Head:
        """Sends a request and reads the head of its answer; `body` reads the rest."""
        lines = (f"GET {path} HTTP/1.1", f"Host: {self._target.host}:{self._target.port}", *headers, "", "")
        with _names_of_losses(end=Reason.UNANSWERED):
            self._writer.write("\r\n".join(lines).encode())
            await self._writer.drain()
            return _parse_head(await self._reader.readuntil(b"\r\n\r\n"))

    async def body(self, head: Head) -> AsyncGenerator[bytes, None]:
        """The parts of the answer's body as they come; at its end the framing is known to be complete."""
        with _names_of_losses(end=Reason.TRUNCATED):
            if head.headers.get("transfer-encoding", "").lower() == "chunked":
                while size := int(await self._reader.readuntil(b"\r\n"), 16):
                    yield (await self._reader.readexactly(size + 2))[:-2]
                await self._reader.readexactly(2)
            elif "content-length" in head.headers:
                yield await self._reader.readexactly(int(head.headers["content-length"]))
            else:
                # Without framing only the end of the connection ends the body: whether it is complete nobody can know.
                raise LostError(Reason.WRONG, "a body with neither length nor chunks")

    async def upgrade(self, path: str) -> None:
        """Makes this connection a WebSocket."""
        key = base64.b64encode(os.urandom(16))
        head = await self.get_head(
            path,
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
        )
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()
        if head.status != 101 or head.headers.get("sec-websocket-accept") != accept:
            raise LostError(Reason.WRONG, f"the WebSocket handshake was answered with status {head.status}")

    async def send_text(self, text: str) -> None:
        """Sends one message."""
        with _names_of_losses(end=Reason.UNANSWERED):
            self._send_frame(_TEXT, text.encode())
            await self._writer.drain()

    async def receive_text(self) -> str | int:
        """The next message, or the code the server closed the WebSocket with (1005 for none)."""
        with _names_of_losses(end=Reason.UNANSWERED):
            while True:
                opcode, payload = await self._receive_frame()
                if opcode == _TEXT:
                    return payload.decode()
                if opcode == _CLOSE:
                    self._send_frame(_CLOSE, payload[:2])
                    return struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                if opcode == _PING:
                    self._send_frame(_PONG, payload)

    def send_close(self) -> None:
        """Tells the server that we leave."""
        self._send_frame(_CLOSE, struct.pack("!H", 1000))

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        """A final frame; a client has to mask, and a mask of zeros is a mask."""
        assert len(payload) < 126  # noqa: S101
        self._writer.write(bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload)

    async def _receive_frame(self) -> tuple[int, bytes]:
        first, length = await self._reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        return first & 0x0F, await self._reader.readexactly(length)


def _parse_head(data: bytes) -> Head:
    try:
        status_line, *lines = data[:-4].decode("latin-1").split("\r\n")
        protocol, status, *_reason = status_line.split(" ")
        if not protocol.startswith("HTTP/1."):
            raise ValueError(protocol)
        pairs = (line.split(":", 1) for line in lines)
        return Head(int(status), {name.lower(): value.strip() for name, value in pairs})
    except ValueError as error:
        raise LostError(Reason.WRONG, f"not HTTP: {data[:60]!r}") from error


@contextmanager
def _names_of_losses(end: Reason) -> Iterator[None]:
    """What asyncio raises, as what it means for a request; `end` is what an end of the connection before any byte means."""
    try:
        yield
    except asyncio.IncompleteReadError as error:
        raise LostError(Reason.TRUNCATED if error.partial else end) from error
    except OSError as error:
        raise LostError(Reason.RESET, str(error)) from error
    except (asyncio.LimitOverrunError, ValueError, struct.error) as error:
        raise LostError(Reason.WRONG, f"the framing is broken: {error}") from error
