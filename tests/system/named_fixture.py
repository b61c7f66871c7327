"""BIND with one dynamic zone, `dyn.example`, that a TSIG key may update."""

import base64
import contextlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest
from pebble_fixture import free_port

from fairlead.https.model import DnsPlan

needs_named = pytest.mark.skipif(shutil.which("named") is None, reason="the Debian package bind9 is not installed")


@dataclass
class Named:
    port: int
    plan: DnsPlan

    def serves(self) -> bool:
        """Whether it has the zone."""
        answer = dns.query.tcp(dns.message.make_query("dyn.example", "SOA"), "127.0.0.1", port=self.port, timeout=5)
        return bool(answer.answer)

    def texts(self, name: str) -> list[str]:
        answer = dns.query.tcp(dns.message.make_query(name, "TXT"), "127.0.0.1", port=self.port, timeout=5)
        return [item.to_text().strip('"') for rrset in answer.answer for item in rrset]


@contextlib.contextmanager
def running_named(folder: Path, primary: Named | None = None) -> Iterator[Named]:
    """A primary name server; or one that asks `primary` every second or two what is new, and is told nothing by itself."""
    folder.mkdir(parents=True)
    port, secret = free_port(), base64.b64encode(secrets.token_bytes(32)).decode()
    kind = 'type primary; file "zone"; update-policy { grant fairlead zonesub TXT; };'
    if primary:
        kind = (
            f"type secondary; primaries port {primary.port} {{ 127.0.0.1; }}; min-refresh-time 1; max-refresh-time 2;"
        )
    (folder / "zone").write_text(
        "$TTL 60\n@ SOA ns.dyn.example. admin.dyn.example. (1 60 60 60 60)\n@ NS ns\nns A 127.0.0.1\n* A 127.0.0.1\n"
    )
    (folder / "named.conf").write_text(
        f'key "fairlead" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'
        f'options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
        f'  pid-file "{folder}/pid"; session-keyfile "{folder}/session.key"; recursion no; dnssec-validation no; }};\n'
        "controls { };\n"
        f'zone "dyn.example" {{ {kind} }};\n'
    )
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(["named", "-g", "-n", "1", "-c", str(folder / "named.conf")], stdout=log, stderr=log)
    try:
        # Named, because the zone's own name server has an address with port 53, where another may listen.
        plan = DnsPlan(
            "rfc2136",
            "127.0.0.1",
            port,
            "",
            "fairlead",
            key_secret=secret,
            timeout=5.0,
            nameservers=(("127.0.0.1", port),),
        )
        named = Named(port, plan)
        deadline = time.monotonic() + 60
        while True:
            try:
                if named.serves():
                    break
            except (OSError, dns.exception.DNSException):
                assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "named does not answer"
            time.sleep(0.05)
        yield named
    finally:
        process.kill()
        process.wait(10)
