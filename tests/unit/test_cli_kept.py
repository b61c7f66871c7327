"""Whether the plan of the last start may be used for this one."""

import json
import os
from pathlib import Path

import pytest

from fairlead.cli.kept import FOLDER, recall
from fairlead.cli.planning import make_plan
from fairlead.plan.model import Plan

ARGUMENTS = ("run", "--port", "9000")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app in a working folder of its own, and a state folder; no variables of ours but those."""
    for name in [name for name in os.environ if name.startswith("FAIRLEAD_") or name in ("PORT", "PWD")]:
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    (work / "main.py").write_text("app = None\n")
    (work / "fairlead.toml").write_text("[replication]\nworkers = 1\n")
    monkeypatch.chdir(work)
    monkeypatch.setenv("FAIRLEAD_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def made(arguments: tuple[str, ...] = ARGUMENTS) -> Plan:
    return make_plan({"--port": (("http", "port"), 9000)}, None, arguments, kept=True)


def kept_file(state: Path) -> Path:
    [file] = (state / FOLDER).iterdir()
    return file


def test_plan_that_was_kept_is_the_plan_that_would_be_made(state: Path) -> None:
    assert recall(ARGUMENTS) is None
    plan = made()
    text = recall(ARGUMENTS)
    assert text is not None
    assert Plan.from_json(text) == plan
    assert kept_file(state).stat().st_mode & 0o777 == 0o600
    assert (state / FOLDER).stat().st_mode & 0o777 == 0o700


def test_plan_that_was_made_for_something_else_is_not_kept(state: Path) -> None:
    make_plan({}, None, ARGUMENTS)
    assert not state.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda work, _patch: (work / "fairlead.toml").write_text("[replication]\nworkers = 2\n"),
        lambda work, _patch: (work / "fairlead.toml").unlink(),
        lambda work, _patch: (work / "pyproject.toml").write_text("[tool.fairlead]\n"),
        lambda work, _patch: (work / "main.py").rename(work / "api.py"),
        lambda work, _patch: (work / "main.py").unlink(),
        lambda _work, patch: patch.setenv("FAIRLEAD_LOG_LEVEL", "debug"),
        lambda _work, patch: patch.setenv("PORT", "9001"),
        lambda work, patch: patch.setenv("FAIRLEAD_CONFIG", str(work / "other.toml")),
        lambda work, patch: patch.setenv("FAIRLEAD_RUNTIME_DIR", str(work)),
        lambda _work, patch: patch.setattr("fairlead.cli.kept.usable_cpus", lambda: 99.0),
        lambda _work, patch: patch.setattr("fairlead.cli.kept.usable_memory", lambda: 1),
        lambda _work, patch: patch.setattr("fairlead.cli.kept.__version__", "9.9.9"),
        lambda _work, patch: patch.setattr("sys.executable", "/other/python"),
    ],
)
def test_plan_is_made_again_when_anything_it_depends_on_differs(change, monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    assert recall(ARGUMENTS)
    change(Path.cwd(), monkeypatch)
    assert recall(ARGUMENTS) is None


def test_plan_belongs_to_its_command_line_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    assert recall((*ARGUMENTS, "--workers", "3")) is None
    monkeypatch.chdir(tmp_path)
    assert recall(ARGUMENTS) is None


def test_plan_that_others_may_write_or_that_was_changed_is_not_used(state: Path) -> None:
    made()
    file = kept_file(state)
    file.chmod(0o620)
    assert recall(ARGUMENTS) is None
    file.chmod(0o600)
    assert recall(ARGUMENTS)
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"plan": kept["plan"].replace("9000", "9001")}))
    assert recall(ARGUMENTS) is None
    for rubbish in ("", "[]", "{}", "\0", '{"asked": 1}'):
        file.write_text(rubbish)
        assert recall(ARGUMENTS) is None


def test_plan_with_secrets_is_not_kept(state: Path) -> None:
    issuer = '{ directory_url = "https://ca.example/dir", eab_key_id = "me", eab_hmac_key = "c2VjcmV0" }'
    Path("fairlead.toml").write_text(
        f'[https]\ndomains = ["example.com"]\nemail = "me@example.com"\nagree_tos = true\nissuers = [{issuer}]\n'
    )
    made()
    assert not state.exists()


def test_plan_is_not_kept_when_the_configuration_changes_meanwhile(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairlead.cli import planning

    def slow(*arguments: object):
        loaded = load(*arguments)
        Path("fairlead.toml").write_text("[replication]\nworkers = 7\n")
        return loaded

    load = planning.load
    monkeypatch.setattr(planning, "load", slow)
    assert made().replication.workers == 1
    assert not state.exists()


def test_only_the_newest_plans_are_kept(state: Path) -> None:
    for number in range(20):
        made((*ARGUMENTS, str(number)))
    assert len(list((state / FOLDER).iterdir())) == 16
    assert recall((*ARGUMENTS, "0")) is None
    assert recall((*ARGUMENTS, "19"))


def test_state_that_cannot_be_written_only_takes_longer(state: Path) -> None:
    state.write_text("a file is in the way")
    assert made().http
    assert recall(ARGUMENTS) is None
