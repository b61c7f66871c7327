"""A certification authority on this machine for rows about ACME: Pebble, Let's Encrypt's own for tests (Debian: pebble)."""

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.processes import running
from bench.session import Tls, free_port

_READY = 20.0
"""Seconds. It needs 0.6 to 2 on an idle machine."""


@dataclass(frozen=True, slots=True)
class Authority:
    """One that runs. It looks for HTTP-01 answers at `http_port` of 127.0.0.1, whatever the name."""

    directory_url: str
    bundle: Path
    """Whom to trust when speaking to the directory."""
    http_port: int
    clients: ssl.SSLContext
    """Trusts the certificates that it issues."""


@contextmanager
def authority(folder: Path, tls: Tls) -> Iterator[Authority]:
    """Runs Pebble and a name server for it. `tls` is what its directory is served with.

    Challenges are looked at at once and every time; no nonce is refused on purpose.
    """
    for program in ("pebble", "pebble-challtestsrv"):
        if shutil.which(program) is None:
            raise BenchError(f"cannot find {program}: install it (Debian: pebble)")
    listen, management, http_port, dns = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(tls.pair.certificate),
        "privateKey": str(tls.pair.key),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "certificateValidityPeriod": 86400,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    names = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", "-http01", "", "-https01", ""]
    names += ["-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}"]
    pebble = ["pebble", "-config", str(folder / "pebble.json"), "-strict", "-dnsserver", f"127.0.0.1:{dns}"]
    env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    with ExitStack() as stack:
        stack.enter_context(running(names, folder, folder / "names.log"))
        process = stack.enter_context(running(pebble, folder, folder / "pebble.log", env))
        roots = _first_answer(f"https://localhost:{management}/roots/0", tls, process)
        url = f"https://localhost:{listen}/dir"
        _first_answer(url, tls, process)
        clients = ssl.create_default_context(cadata=roots.decode())
        yield Authority(url, tls.pair.certificate, http_port, clients)


def _first_answer(url: str, tls: Tls, process: "subprocess.Popen[bytes]") -> bytes:
    end = time.monotonic() + _READY
    while True:
        try:
            with urllib.request.urlopen(url, context=tls.context, timeout=2) as answer:
                found: bytes = answer.read()
                return found
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"pebble does not answer: {error}") from error
            time.sleep(0.02)
