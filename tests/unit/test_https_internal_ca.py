"""The local authority, checked by OpenSSL and by Python's verifier."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509

from fairlead.https import internal_ca
from fairlead.https.internal_ca import InternalError
from fairlead.https.pairs import check_pair, leaf_names
from fairlead.https.store import Store

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def openssl_verify(store: Store, chain: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "leaf.pem").write_bytes(chain)
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        str(store.root / internal_ca.ROOT),
    ]
    return subprocess.run([*command, str(folder / "leaf.pem")], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "names",
    [("localhost",), ("app.internal", "*.app.internal"), ("192.168.7.1", "::1"), ("api.example.com", "203.0.113.9")],
    ids=lambda names: names[0],
)
def test_certificate_is_good_for_its_names_and_strictly_valid(
    store: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    pair = internal_ca.issue(store, names, 7 * 86400.0, NOW)
    check_pair(pair, names, NOW)
    assert set(leaf_names(pair.leaf)) == set(names)
    done = openssl_verify(store, pair.chain, tmp_path)
    assert done.returncode == 0, done.stderr


def test_root_is_kept_and_every_key_is_fresh(store: Store) -> None:
    first = internal_ca.issue(store, ("localhost",), 3600.0, NOW)
    root = store.read(internal_ca.ROOT)
    second = internal_ca.issue(Store.open(store.root), ("localhost",), 3600.0, NOW)
    assert store.read(internal_ca.ROOT) == root
    assert first.key != second.key


def test_root_may_not_sign_for_the_rest_of_the_web(store: Store) -> None:
    internal_ca.issue(store, ("localhost", "api.example.com"), 3600.0, NOW)
    for name in ("bank.example", "example.com", "203.0.113.9"):
        with pytest.raises(InternalError, match=f"cannot issue for {name}: the local root was made for other names"):
            internal_ca.issue(store, (name,), 3600.0, NOW)


def test_openssl_refuses_what_a_stolen_root_key_signs_for_other_names(store: Store, tmp_path: Path) -> None:
    internal_ca.issue(store, ("localhost",), 3600.0, NOW)
    authority = x509.load_pem_x509_certificate(store.read(internal_ca.ROOT))
    key = internal_ca._root_key(store)
    leaf = internal_ca._make_leaf(authority, key, internal_ca.new_key(), ("bank.example",), 3600.0, NOW)
    done = openssl_verify(store, leaf.public_bytes(internal_ca.serialization.Encoding.PEM), tmp_path)
    assert "permitted subtree violation" in done.stderr


def test_short_certificate_leaves_a_third_of_its_life_for_renewal(store: Store) -> None:
    leaf = internal_ca.issue(store, ("localhost",), 20.0, NOW).leaf
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    assert NOW - 4 < begin < NOW
    assert NOW + 18 < end <= NOW + 20


def test_missing_root_key_is_an_error_and_no_new_root(store: Store) -> None:
    internal_ca.issue(store, ("localhost",), 3600.0, NOW)
    store.delete(internal_ca.ROOT_KEY)
    with pytest.raises(InternalError, match=r"root-key\.pem is missing"):
        internal_ca.issue(store, ("localhost",), 3600.0, NOW)


def test_root_goes_into_the_trust_store_and_out_again(store: Store, tmp_path: Path) -> None:
    root = internal_ca.root(store, ("localhost",), NOW)
    folder, calls = tmp_path / "trust", tmp_path / "calls"
    command = tmp_path / "update"
    command.write_text(f'#!/bin/sh\necho "update $*" >> {calls}\n')
    command.chmod(0o755)
    path = internal_ca.install_root(root, folder, (str(command),))
    assert path.read_bytes() == root
    assert path.suffix == ".crt"
    internal_ca.remove_root(root, folder, (str(command),))
    assert not path.exists()
    assert calls.read_text() == "update \nupdate --fresh\n"


def test_system_without_a_trust_store_is_told(store: Store, tmp_path: Path) -> None:
    root = internal_ca.root(store, (), NOW)
    with pytest.raises(InternalError, match="install the package ca-certificates"):
        internal_ca.install_root(root, tmp_path, ("no-such-program",))
    assert "certutil" in internal_ca.instructions(Path("/root.pem"))
