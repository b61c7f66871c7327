"""When a build compiles, and what it says where it cannot."""

import sysconfig
from pathlib import Path

import hatch_build
import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[2]


def hook(target: str = "wheel") -> hatch_build.CompileHook:
    return hatch_build.CompileHook(str(ROOT), {}, None, ProjectMetadata(str(ROOT), PluginManager()), "", target, None)


@pytest.fixture(autouse=True)
def _possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.delenv("FAIRLEAD_COMPILE", raising=False)
    monkeypatch.setenv("CC", "sh -c")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))


def test_wheel_is_compiled_where_it_is_possible() -> None:
    assert any(requirement.startswith("mypy") for requirement in hook().dependencies())


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_what_is_missing_leaves_python_unless_it_is_asked_for(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if missing == "compiler":
        monkeypatch.setenv("CC", "no-such-compiler -O2")
    else:
        (tmp_path / "Python.h").unlink()
    data = {"pure_python": True}
    hook().initialize("standard", data)
    assert (hook().dependencies(), data) == ([], {"pure_python": True})
    monkeypatch.setenv("FAIRLEAD_COMPILE", "1")
    with pytest.raises(SystemExit, match=r"cannot compile, as FAIRLEAD_COMPILE=1 asks: .*not installed"):
        hook().dependencies()


def test_working_copies_and_source_archives_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"pure_python": True}
    hook().initialize("editable", data)
    monkeypatch.setenv("FAIRLEAD_COMPILE", "0")
    hook().initialize("standard", data)
    assert (data, hook().dependencies(), hook("sdist").dependencies()) == ({"pure_python": True}, [], [])


def test_another_wish_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_COMPILE", "yes")
    with pytest.raises(SystemExit, match="FAIRLEAD_COMPILE is 'yes'; allowed: 0, 1, or nothing"):
        hook().dependencies()


def test_compiler_that_fails_ends_the_build_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "src" / "fairlead" / "worker" / "http1"
    source.mkdir(parents=True)
    (source / "bad.py").write_text("def (")
    building = hook()
    monkeypatch.setattr(hatch_build.CompileHook, "root", str(tmp_path))
    with pytest.raises(
        SystemExit, match="cannot compile fairlead/worker/http1: see above; FAIRLEAD_COMPILE=0 builds without"
    ):
        building.initialize("standard", {"pure_python": True})
