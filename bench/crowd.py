"""Many connections that stay open and idle: `crowd.py KIND HOST PORT COUNT SOURCE PATH`. A process of its own, so that neither its
memory nor its open files are the benchmark's. Standard library only.

Opens COUNT connections from the address SOURCE, has each answered once (KIND `http`), or makes it a WebSocket that has
echoed one message (`websocket`), and prints `open N`. Then, for each line `ask` on its input: asks once more on every connection and prints
`alive N`. Ends at the end of its input.
"""

import asyncio
import sys
from dataclasses import dataclass

_UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
_FRAME = b"\x81\x82\x00\x00\x00\x00hi"
_AT_ONCE = 100
_PATIENCE = 15.0
_RETRIES = 5


@dataclass(frozen=True, slots=True)
class _Crowd:
    websocket: bool
    host: str
    port: int
    source: str
    path: str

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One connection that has been answered."""
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=(self.source, 0), limit=4096)
        if self.websocket:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n{_UPGRADE}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise ConnectionError(head[:80])
        await self.ask(reader, writer)
        return reader, writer

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One more answer on it."""
        if self.websocket:
            writer.write(_FRAME)
            _opcode, length = await reader.readexactly(2)
            await reader.readexactly(length)  # the echo is shorter than 126 bytes
            return
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200" not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head[:80])
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))


async def _main(crowd: _Crowd, count: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def come() -> None:
        for _ in range(_RETRIES):
            try:
                async with gate, asyncio.timeout(_PATIENCE):
                    opened.append(await crowd.open())
                return
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(0.2)

    async def answered(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
        try:
            async with gate, asyncio.timeout(_PATIENCE):
                await crowd.ask(*connection)
            return True
        except (OSError, EOFError, TimeoutError):
            return False

    await asyncio.gather(*(come() for _ in range(count)))
    print(f"open {len(opened)}", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        alive = sum(await asyncio.gather(*(answered(connection) for connection in opened)))
        print(f"alive {alive}", flush=True)


if __name__ == "__main__":
    kind, host, port, count, source, path = sys.argv[1:]
    asyncio.run(_main(_Crowd(kind == "websocket", host, int(port), source, path), int(count)))
