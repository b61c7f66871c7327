"""The agent started as root: what it reads as root, and what it does as the app's user."""

import os
import pwd
from pathlib import Path

import pytest
import trustme
from agent_fixture import https_plan, job_of, run_agent

from fairlead.https.model import CertificatePlan, HttpsPlan
from fairlead.https.store import Store

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="giving root up needs root")]


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


@pytest.fixture
def store(tmp_path: Path, nobody: pwd.struct_passwd) -> Path:
    """A store's place below folders that `nobody` may pass."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return folder


def owners(store: Path) -> set[int]:
    return {path.stat().st_uid for path in (store, *store.rglob("*"))}


def test_everything_in_the_store_belongs_to_the_apps_user(store: Path, nobody: pwd.struct_passwd) -> None:
    https = https_plan(store, "localhost", source="internal")
    result = run_agent(job_of(https, identity=(nobody.pw_uid, nobody.pw_gid)))[1]
    assert (result.outcome, result.error) == ("obtained", "")
    assert owners(store) == {nobody.pw_uid}
    assert Store.open(store, nobody.pw_uid).state("internal/localhost") == result.state


def test_key_that_only_root_may_read_is_taken_for_the_apps_user(
    store: Path, tmp_path: Path, nobody: pwd.struct_passwd
) -> None:
    issued = trustme.CA().issue_cert("a.test")
    plan = CertificatePlan("files", ("a.test",), str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    Path(plan.certificate_file).write_bytes(issued.cert_chain_pems[0].bytes())
    Path(plan.key_file).write_bytes(issued.private_key_pem.bytes())
    Path(plan.key_file).chmod(0o600)
    https = HttpsPlan(store=str(store), certificates=(plan,))
    result = run_agent(job_of(https, identity=(nobody.pw_uid, nobody.pw_gid)))[1]
    assert (result.outcome, result.error) == ("obtained", "")
    assert owners(store) == {nobody.pw_uid}


def test_store_of_another_user_is_told_and_nothing_is_done(store: Path, nobody: pwd.struct_passwd) -> None:
    os.chown(store, 0, 0)
    https = https_plan(store, "localhost", source="internal")
    result = run_agent(job_of(https))[1]
    assert result.outcome == "obtained"
    other = run_agent(job_of(https, identity=(nobody.pw_uid, nobody.pw_gid)))[1]
    assert other.outcome == "lost"
    assert other.error == f"cannot use {store}: it belongs to user 0, not to {nobody.pw_uid}"


def test_store_that_root_makes_for_the_apps_user_belongs_to_that_user(
    tmp_path: Path, nobody: pwd.struct_passwd
) -> None:
    made = Store.open(tmp_path / "made", nobody.pw_uid)
    made.write_pair("acme/a.test", b"pair")
    assert owners(made.root) == {nobody.pw_uid}
    assert tmp_path.stat().st_uid == 0
