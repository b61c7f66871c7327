"""`fairlead install`: what needs no systemd. The rest is tested on a machine that boots (tests/system)."""

import os
from pathlib import Path

import pytest

from fairlead.cli.main import main
from fairlead.host.access import closed_to


@pytest.fixture
def fairlead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    for name in [name for name in os.environ if name.startswith("FAIRLEAD_")]:
        monkeypatch.delenv(name)
    (tmp_path / "main.py").write_text("app = None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fairlead.targets.systemd._HIDDEN", ())  # the app lies in a temporary folder here

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_print_shows_the_units_and_needs_neither_root_nor_systemd(fairlead, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    code, out, _err = fairlead("install", "--print", "--name", "shop", "--user", "nemo")
    assert code == 0
    assert "# shop.service\n[Unit]\n" in out
    assert "\nUser=nemo\n" in out
    assert " run --name shop --user nemo\n" in out
    assert "ListenStream=127.0.0.1:8000\n" in out


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_machine_without_systemd_is_told(fairlead, monkeypatch, command) -> None:
    monkeypatch.setenv("PATH", "")
    code, _out, err = fairlead(command)
    assert code == 2
    assert "error: cannot install: systemd does not run this machine" in err


def test_port_that_a_users_services_may_not_open_is_told(fairlead, tmp_path) -> None:
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 443\n")
    code, _out, err = fairlead("install", "--user-unit", "--print")
    assert code == 2
    assert "cannot listen on 127.0.0.1:443 without root or CAP_NET_BIND_SERVICE" in err


def test_user_and_user_unit_exclude_each_other(fairlead) -> None:
    code, _out, err = fairlead("install", "--user-unit", "--user", "nemo")
    assert code == 2
    assert "cannot install with --user and --user-unit" in err


def test_folder_that_keeps_a_user_out_is_found(tmp_path) -> None:
    inner = tmp_path / "closed" / "open"
    inner.mkdir(parents=True)
    for folder in (*tmp_path.parents[:-2], tmp_path, inner):
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    (tmp_path / "closed").chmod(0o710)
    owner, group = inner.stat().st_uid, inner.stat().st_gid
    assert closed_to(inner, None) == tmp_path / "closed"
    assert closed_to(inner, owner + 4711) == tmp_path / "closed"
    assert closed_to(inner, owner + 4711, (group,)) is None
    assert closed_to(inner, owner) is None
    with pytest.raises(FileNotFoundError):
        closed_to(inner / "missing", owner)
