"""Pebble, Let's Encrypt's test authority, with its DNS server; and an HTTP-01 responder on its validation port."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fairlead.https.model import Issuer
from fairlead.https.redirect import Answers, RedirectProtocol

needs_pebble = pytest.mark.skipif(
    shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None,
    reason="the Debian package pebble is not installed",
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@dataclass
class Pebble:
    directory_url: str
    management_url: str
    ca_bundle: Path
    http_port: int
    process: subprocess.Popen[bytes]
    log: Path

    def orders(self) -> int:
        """How many orders were placed."""
        return self.log.read_text().count("POST /order-plz")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def issuer(self, name: str = "pebble", **more: str) -> Issuer:
        return Issuer(name, self.directory_url, ca_bundle=str(self.ca_bundle), **more)

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        with urllib.request.urlopen(self.management_url + path, context=context, timeout=10) as answer:
            return answer.read()

    def roots(self) -> bytes:
        return self._get("/roots/0")

    def status(self, serial: str) -> str:
        return json.loads(self._get(f"/cert-status-by-serial/{serial}"))["Status"]


def _wait_for(url: str, bundle: Path, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context(cafile=str(bundle))
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, context=context, timeout=2).close()
        except OSError:
            assert process.poll() is None, "pebble ended"
            assert time.monotonic() < deadline, "pebble does not answer"
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def running_pebble(
    folder: Path,
    *,
    validity: int = 86400,
    eab: dict[str, str] | None = None,
    dns_server: str | None = None,
    environment: dict[str, str] | None = None,
    ports: tuple[int, int, int] | None = None,
) -> Iterator[Pebble]:
    """A Pebble of its own, and its DNS that answers 127.0.0.1 for every name unless `dns_server` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / "directory-ca.pem"
    if not bundle.exists():
        ca = trustme.CA()
        served = ca.issue_cert("localhost", "127.0.0.1")
        ca.cert_pem.write_to_path(str(bundle))
        served.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        served.private_key_pem.write_to_path(str(folder / "key.pem"))
    listen, management, http_port = ports or (free_port(), free_port(), free_port())
    config = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "certificateValidityPeriod": validity,
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": eab or {},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    with contextlib.ExitStack() as stack:
        if dns_server is None:
            dns_port = free_port()
            dns_server = f"127.0.0.1:{dns_port}"
            command = ["pebble-challtestsrv", "-dns01", dns_server, "-defaultIPv6", "", "-http01", "", "-https01", ""]
            command += ["-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}"]
            stack.enter_context(_process(command, folder / "challtestsrv.log", {}))
        settings = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
            **(environment or {}),
        }
        command = ["pebble", "-config", str(folder / "pebble.json"), "-strict", "-dnsserver", dns_server]
        process = stack.enter_context(_process(command, folder / "pebble.log", settings))
        url = f"https://localhost:{listen}/dir"
        _wait_for(url, bundle, process)
        yield Pebble(url, f"https://localhost:{management}", bundle, http_port, process, folder / "pebble.log")


@contextlib.contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def plain_http(answers: Answers, port: int) -> Iterator[None]:
    """The real port-80 responder (`redirect.RedirectProtocol`) on a port of loopback, in a thread."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    left: set[asyncio.Transport] = set()

    class Noted(RedirectProtocol):
        """Known while it is open: what is left at the end is cut, for the loop would close with it open."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            left.add(transport)
            self.noted = transport

        def connection_lost(self, error: Exception | None) -> None:
            left.discard(self.noted)
            super().connection_lost(error)

    async def serve() -> None:
        server = await loop.create_server(lambda: Noted(answers), "127.0.0.1", port)
        started.set()
        try:
            await server.serve_forever()
        except asyncio.CancelledError:
            server.close()
        for transport in left:
            transport.abort()
        await asyncio.sleep(0)  # the turn in which they learn of it
        assert not left

    task = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        loop.close()
