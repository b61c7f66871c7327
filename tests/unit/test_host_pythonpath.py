"""PYTHONPATH: what is set aside for our own processes, and given back for the app."""

import os
import sys
from pathlib import Path

import pytest

from fairlead.host import pythonpath


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Four folders on PYTHONPATH and on sys.path."""
    files = {
        "plain": "mine.py",
        "shadow": "logging.py",
        "package": "json/__init__.py",
        "ours": "fairlead/host/pythonpath.py",
    }
    for name, file in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "ours" / "typing.py").touch()
    found = {name: str(tmp_path / name) for name in files}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found.values()))
    monkeypatch.delenv("_FAIRLEAD_PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [*found.values(), *sys.path])
    return found


def test_only_folders_with_a_standard_name_are_set_aside(folders: dict[str, str]) -> None:
    pythonpath.set_aside()
    try:
        assert os.environ["PYTHONPATH"] == os.pathsep.join((folders["plain"], folders["ours"]))
        assert sys.path[:2] == [folders["plain"], folders["ours"]]
        assert folders["shadow"] not in sys.path
        pythonpath.set_aside()  # as the command that plans again does, which inherits all that
        assert pythonpath.for_programs(os.environ)["PYTHONPATH"] == os.pathsep.join(folders.values())
    finally:
        pythonpath.restore()
    assert os.environ["PYTHONPATH"] == os.pathsep.join(folders.values())
    assert set(folders.values()) <= set(sys.path)
    assert "_FAIRLEAD_PYTHONPATH" not in os.environ


def test_without_such_a_folder_nothing_changes(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", folders["plain"])
    before = dict(os.environ), list(sys.path)
    pythonpath.set_aside()
    pythonpath.restore()
    assert (dict(os.environ), sys.path) == before
