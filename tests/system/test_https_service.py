"""The running service with the local authority and with the user's own files: no authority on the network."""

import json
import os
import signal
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from https_service_fixture import HttpsService, ask, https_service, plain
from service import descendants, opened_to_others

import fairlead
from fairlead.https.store import Store

SCOPE_APP = """
    import os
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.get("/{path:path}")
    def root(request: Request):
        scope = request.scope
        tls = scope.get("extensions", {}).get("tls")
        return {"scheme": scope["scheme"], "client": scope["client"], "server": scope["server"], "tls": tls,
                "url": str(request.url), "uid": os.getuid()}
"""
INTERNAL = 'mode = "internal"'
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[HttpsService]:
    with https_service(tmp_path) as made:
        made.write(SCOPE_APP)
        yield made


def get(service: HttpsService, name: str = "localhost", context: ssl.SSLContext | None = None) -> dict[str, object]:
    with service.connect(name, context) as sock:
        found: dict[str, object] = json.loads(ask(sock, name, "/where").body)
        return found | {"peer": list(sock.getsockname()), "at": list(sock.getpeername())}


def test_internal_serves_localhost_at_once(service: HttpsService) -> None:
    service.https(INTERNAL).run("--workers", "2")
    service.obtained()
    found = get(service)
    assert (found["scheme"], found["client"], found["server"]) == ("https", found["peer"], found["at"])
    assert found["url"] == "https://localhost/where"
    assert found["tls"]["tls_version"] == 0x0304  # type: ignore[index]
    assert found["tls"]["client_cert_name"] is None  # type: ignore[index]
    assert get(service, "127.0.0.1")["scheme"] == "https"
    listeners = service.status()["listeners"]
    assert listeners == [f"https://127.0.0.1:{service.https_port}", f"http://127.0.0.1:{service.http_port}"]


def test_plain_http_redirects_our_names_and_no_others(service: HttpsService) -> None:
    service.https(INTERNAL).run("--workers", "1")
    service.obtained()
    answer = plain(service, "localhost", "/a/b?c=d")
    assert (answer.status, answer.headers["location"]) == (308, f"https://localhost:{service.https_port}/a/b?c=d")
    assert plain(service, "elsewhere.test").status == 421
    service.wait_until(lambda: service.serving()[0]["connections"] == 0, "connections are counted out")


def test_plain_http_serves_the_app_when_it_shall(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\nhttp = "serve"\nhsts = {{ max_age = "1h" }}').run("--workers", "1")
    service.obtained()
    answer = plain(service, "localhost")
    assert json.loads(answer.body)["scheme"] == "http"
    assert "strict-transport-security" not in answer.headers
    with service.connect("localhost") as sock:
        assert ask(sock, "localhost").headers["strict-transport-security"] == "max-age=3600"


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_client_certificates_are_asked_for_and_told_to_the_app(service: HttpsService, protocol: str) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(service.folder / "clients.pem"))
    service.https(f'{INTERNAL}\nclient_certificates = "required"\nclient_ca = "clients.pem"')
    service.configure((service.folder / "fairlead.toml").read_text() + f'protocol = "{protocol}"\n')
    service.run("--workers", "1")
    service.obtained()
    context = service.context()
    authority.issue_cert("jo@a.test", common_name="jo").configure_cert(context)
    tls = get(service, context=context)["tls"]
    assert "CN=jo" in tls["client_cert_name"]  # type: ignore[index]
    assert tls["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE")  # type: ignore[index]
    context = service.context()
    stranger.issue_cert("eve@a.test").configure_cert(context)
    with pytest.raises((ssl.SSLError, ConnectionError, ValueError)):
        get(service, context=context)


def write_pair(folder: Path, authority: trustme.CA, *names: str) -> None:
    """As tools do it: complete files, moved into place."""
    pair = authority.issue_cert(*names)
    for name, parts in (("cert.pem", pair.cert_chain_pems), ("key.pem", [pair.private_key_pem])):
        (folder / f"{name}.new").write_bytes(b"".join(part.bytes() for part in parts))
        (folder / f"{name}.new").rename(folder / name)


def test_files_are_swapped_in_and_a_bad_pair_leaves_the_old_one(service: HttpsService) -> None:
    authority = trustme.CA()
    service.roots = authority.cert_pem.bytes().decode()
    write_pair(service.folder, authority, "files.test")
    service.https('files = [{ certificate = "cert.pem", key = "key.pem", names = ["files.test"] }]')
    service.run("--workers", "2")
    service.obtained()
    first, mark = service.serial("files.test"), service.mark()

    (service.folder / "key.pem").write_bytes(authority.issue_cert("files.test").private_key_pem.bytes())
    failed = service.wait_for("certificate.failed", mark)
    assert "cert.pem" in failed["text"]
    assert service.serial("files.test") == first
    (certificate,) = service.certificates()
    assert certificate["last_error"] == failed["text"]

    mark = service.mark()
    write_pair(service.folder, authority, "files.test")
    service.obtained(mark)
    service.wait_until(lambda: service.serial("files.test") != first, "the new pair")


def test_reload_takes_other_names_and_keeps_what_serves_when_it_fails(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "1")
    service.obtained()
    service.https(f'{INTERNAL}\ndomains = ["a.test", "b.test"]')
    mark = service.mark()
    assert service.command("reload").returncode == 0
    service.obtained(mark)
    service.wait_until(lambda: {one["state"] for one in service.certificates()} == {"valid"}, "both")
    assert get(service, "b.test")["scheme"] == "https"
    assert service.serial("a.test")
    service.https(f'{INTERNAL}\ndomains = ["a.test"]\nclient_certificates = "required"\nclient_ca = "missing.pem"')
    done = service.command("reload")
    assert done.returncode == 1
    assert "cannot use https.client_ca" in done.stderr
    assert get(service, "b.test")["scheme"] == "https"
    service.https(f'{INTERNAL}\ndomains = ["a.test"]')
    mark = service.mark()
    assert service.command("reload").returncode == 0
    assert service.wait_for("certificate.unused", mark)["keys"] == ["internal/b.test"]


def test_store_that_others_may_read_stops_the_start(service: HttpsService) -> None:
    service.https(INTERNAL)
    Store.open(service.folder / "store").root.chmod(0o755)
    service.launch(bind=None)
    assert service.exit_code() == 3
    assert "others may use it (mode 0755); run `chmod 700" in "".join(service.raw)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda folder: (folder / "state.json").write_text("junk"), "state.json: Expecting value"),
        (lambda folder: (folder / "pair.pem").chmod(0o644), "others may use it (mode 0644); run `chmod 600"),
    ],
    ids=["state", "pair"],
)
def test_certificate_that_cannot_be_used_stops_a_start_and_refuses_a_reload(
    service: HttpsService, damage: Callable[[Path], None], cause: str
) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "1")
    service.obtained()
    serial = service.serial("a.test")
    damage(service.store.pair_path("internal/a.test").parent)
    answer = service.ask("reload")
    assert not answer["ok"]
    assert cause in answer["error"]
    assert service.serial("a.test") == serial
    assert service.stop() == 0
    service.launch(bind=None)
    assert service.exit_code() == 3
    assert cause in "".join(service.raw)


def test_store_that_goes_bad_is_told_and_looked_at_again(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "1")
    service.obtained()
    serial = service.serial("a.test")
    state = service.store.pair_path("internal/a.test").with_name("state.json")
    state.write_text("junk")
    assert (answer := service.ask("upgrade"))["ok"], answer
    cause = f"cannot read {state}: Expecting value"
    service.wait_until(service.certificates, "certificates in status")
    (certificate,) = service.certificates()
    assert (certificate["names"], certificate["state"]) == (["a.test"], "failing")
    assert certificate["last_error"].startswith(cause)
    assert service.ask("certs renew")["error"].startswith(f"cannot renew a certificate: {cause}")
    # Its processes are replaced all the same, from the disk as well.
    service.store.root.chmod(0o755)
    victim = service.serving()[0]["pid"]
    (release,) = service.status()["releases"]
    for pid in (release["template_pid"], release["spare_pid"], victim):
        os.kill(pid, signal.SIGKILL)
    service.wait_until(lambda: {w["pid"] for w in service.serving()} - {victim}, "a replacement")
    service.store.root.chmod(0o700)
    state.unlink()
    service.wait_until(lambda: service.certificates()[0]["state"] == "valid", "the state worked out again")
    service.wait_until(lambda: service.serial("a.test") == serial, "the same certificate")
    service.wait_for("certificate.store_readable")


def test_hook_is_run_and_its_failure_is_told(service: HttpsService) -> None:
    script = service.folder / "hook"
    script.write_text('#!/bin/sh\necho "$FAIRLEAD_EVENT $FAIRLEAD_NAMES" >> told\necho no >&2\nexit 3\n')
    script.chmod(0o755)
    service.https(f'{INTERNAL}\ndomains = ["a.test"]\nhook = ["{script}"]').run("--workers", "1")
    failed = service.wait_for("certificate.hook_failed")
    assert failed["cause"].endswith("ended with code 3: no")
    assert (service.folder / "told").read_text() == "obtained a.test\n"


def test_supervisor_stays_small(service: HttpsService) -> None:
    service.https(INTERNAL).run("--workers", "1")
    service.obtained()
    status = json.loads(service.command("status", "--json").stdout)
    assert status["memory"]["supervisor_pss"] <= 20e6
    maps = Path(f"/proc/{service.pid}/maps").read_text()
    assert "libcrypto" not in maps
    print(f"supervisor: {status['memory']['supervisor_pss'] / 1e6:.1f} MB")


def test_status_and_certs_tell_the_certificates(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "1")
    service.obtained()
    for command in ("status", "certs"):
        shown = service.command(command)
        assert shown.returncode == 0, shown.stderr
        assert "a.test" in shown.stdout
        assert "Fairlead local authority" in shown.stdout
    (listed,) = json.loads(service.command("certs", "--json").stdout)
    assert set(listed) == {"names", "issuer", "not_after", "source", "state", "next_attempt", "last_error"}
    done = service.command("certs", "renew")
    assert "a.test: unchanged, because it is not due" in done.stdout
    done = service.command("certs", "revoke", "a.test")
    assert done.returncode == 1
    assert "cannot revoke a.test" in done.stderr


def test_root_of_the_local_authority_is_printed(service: HttpsService) -> None:
    service.https(INTERNAL)
    before = service.command("ca")
    service.run("--workers", "1")
    service.obtained()
    assert before.stdout == service.command("ca").stdout == service.store.read("internal/root.pem").decode()  # type: ignore[union-attr]
    how = service.command("ca", "--instructions")
    assert str(service.folder / "store" / "internal" / "root.pem") in how.stdout
    assert service.command("ca", "--install", "--remove").returncode == 2


@root
@pytest.mark.root
def test_everything_but_the_supervisor_gives_root_up(service: HttpsService) -> None:
    for folder in (service.folder, *service.folder.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    places = {Path(sys.base_prefix), Path(sys.prefix), Path(fairlead.__file__).parent}
    prefix = opened_to_others(service.folder / "cover", *places)
    script = service.folder / "hook"
    script.write_text("#!/bin/sh\nid -u\nexit 1\n")
    script.chmod(0o755)
    service.https(f'{INTERNAL}\nhook = ["{script}"]').run("--workers", "1", "--user", "nobody", prefix=prefix)
    service.obtained()
    uid = get(service)["uid"]
    assert uid == os.stat(service.store.root).st_uid != 0
    for path in service.store.root.rglob("*"):
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid, 0o700 if path.is_dir() else 0o600), path
    assert service.wait_for("certificate.hook_failed")["cause"].endswith(f"ended with code 1: {uid}")


def test_handshake_that_never_comes_is_ended(service: HttpsService) -> None:
    service.https(INTERNAL).run("--workers", "1")
    service.obtained()
    with socket.create_connection(("127.0.0.1", service.https_port), 20) as sock:
        sock.sendall(b"\x16\x03\x01")
        assert sock.recv(100) == b""
    service.wait_until(lambda: service.serving()[0]["connections"] == 0, "it is counted out")


def test_no_process_is_left_behind(service: HttpsService) -> None:
    service.https(INTERNAL).run("--workers", "1")
    family = descendants(service.pid)
    assert service.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)


def test_upgrade_of_the_supervisor_goes_on_looking_after_certificates(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "2")
    service.obtained()
    before, mark = service.serial("a.test"), service.mark()
    listeners = service.status()["listeners"]
    done = service.command("upgrade")
    assert done.returncode == 0, done.stderr
    service.wait_until(service.certificates, "certificates in status")
    assert service.status()["listeners"] == listeners
    assert service.command("certs", "renew", "--force").returncode == 0
    service.obtained(mark)
    service.wait_until(lambda: service.serial("a.test") != before, "the workers took it")


def test_hook_under_way_is_looked_after_through_an_upgrade(service: HttpsService) -> None:
    wait = "until test -e go; do sleep 0.05; done; echo 'the hook says no' >&2; exit 3"
    service.https(f'{INTERNAL}\ndomains = ["a.test"]\nhook = ["sh", "-c", "{wait}"]').run("--workers", "1")
    service.obtained()
    assert (answer := service.ask("upgrade"))["ok"], answer
    (service.folder / "go").touch()
    failed = service.wait_for("certificate.hook_failed")
    assert "the hook says no" in failed["cause"]


def test_name_that_is_no_text_is_refused_without_a_word_in_the_log(service: HttpsService) -> None:
    service.https(f'{INTERNAL}\ndomains = ["a.test"]').run("--workers", "1")
    service.obtained()
    sent = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="strange.test")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", service.https_port), 10) as sock:
        sock.sendall(sent.read().replace(b"strange", b"str\xffnge"))
        assert sock.recv(7)[:6] == b"\x15\x03\x03\x00\x02\x02"  # a fatal alert
    assert service.serial("a.test")
    assert service.stop() == 0
    assert service.logged("raw") == []
