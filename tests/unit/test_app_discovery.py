from pathlib import Path

import pytest

from fairlead.app.discovery import find_app
from fairlead.errors import InputError


def make(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("app = None\n")


def find(folder, target=None, factory=False, app_dir=None):
    return find_app(target, factory, folder, app_dir)


@pytest.mark.parametrize(
    ("files", "module", "file"),
    [
        (["main.py"], "main", "main.py"),
        (["app.py"], "app", "app.py"),
        (["api.py"], "api", "api.py"),
        (["main.py", "app.py", "api.py"], "main", "main.py"),
        (["app/main.py"], "main", "app/main.py"),
        (["app/__init__.py", "app/main.py"], "app.main", "app/main.py"),
        (["app/__init__.py", "app/api.py"], "app.api", "app/api.py"),
        (["shop/__init__.py", "shop/api.py", "shop/app.py"], "shop.app", "shop/app.py"),
        (["__init__.py", "main.py"], "web.main", "main.py"),
        (["tools/__init__.py", "shop/__init__.py", "shop/main.py"], "shop.main", "shop/main.py"),
    ],
)
def test_app_is_found_in_the_usual_places(tmp_path, files, module, file):
    folder = tmp_path / "web"
    make(folder, *files)
    found = find(folder)
    assert (found.module, found.attribute, found.file) == (module, None, folder / file)
    assert (found.folder / Path(*module.split("."))).with_suffix(".py") == folder / file
    assert found.note == f"found the app in {file}, imported as {module} from {found.folder}"


@pytest.mark.parametrize(
    ("target", "module", "attribute"),
    [
        ("main.py", "main", None),
        ("main.py:api", "main", "api"),
        ("./main.py", "main", None),
        ("pkg/web/mod.py", "pkg.web.mod", None),
        ("pkg/web/mod.py:state.app", "pkg.web.mod", "state.app"),
        ("pkg/__init__.py", "pkg", None),
        ("loose/mod.py", "mod", None),
        ("pkg.web.mod", "pkg.web.mod", None),
        ("pkg.web.mod:app", "pkg.web.mod", "app"),
        ("not_here:app", "not_here", "app"),
        ("main", "main", None),
    ],
)
def test_target_is_a_file_or_a_module_with_or_without_attribute(tmp_path, target, module, attribute):
    make(tmp_path, "main.py", "pkg/__init__.py", "pkg/web/__init__.py", "pkg/web/mod.py", "loose/mod.py")
    found = find(tmp_path, target)
    assert (found.module, found.attribute) == (module, attribute)
    assert found.folder == (tmp_path / "loose" if target.startswith("loose") else tmp_path)


def test_absolute_file_is_found_from_anywhere(tmp_path):
    make(tmp_path, "far/pkg/__init__.py", "far/pkg/mod.py")
    found = find(tmp_path / "elsewhere", str(tmp_path / "far/pkg/mod.py"))
    assert (found.module, found.folder) == ("pkg.mod", tmp_path / "far")


def test_module_tells_its_file_when_it_is_seen(tmp_path):
    make(tmp_path, "pkg/__init__.py")
    assert find(tmp_path, "pkg").file == tmp_path / "pkg/__init__.py"
    assert find(tmp_path, "elsewhere.mod").file is None


def test_named_folder_is_the_import_root(tmp_path):
    make(tmp_path, "src/shop/main.py", "src/app.py")
    assert find(tmp_path, None, app_dir=tmp_path / "src").module == "app"
    found = find(tmp_path, "shop/main.py", app_dir=tmp_path / "src")
    assert (found.module, found.folder) == ("shop.main", tmp_path / "src")
    assert find(tmp_path, "shop.main:app", app_dir=tmp_path / "src").folder == tmp_path / "src"


def test_nothing_found_lists_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for main.py, app.py, api.py, app/main.py, app/app.py, app/api.py"):
        find(tmp_path)


def test_several_packages_are_named(tmp_path):
    make(tmp_path, "a/__init__.py", "a/main.py", "b/__init__.py", "b/app.py")
    with pytest.raises(InputError, match=r"a/main.py, b/app.py could each be it; name one: fairlead run a/main.py"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("missing.py", "no file .*missing.py"),
        ("src/", "it is a folder"),
        ("src/readme.txt", "it is no .py file"),
        ("src/my-app.py", "'my-app' cannot be imported"),
        ("src/class.py", "'class' cannot be imported"),
        (":app", "cannot use the target ':app'"),
        ("main:", None),
        ("main:1x", "'1x' is no attribute"),
        ("main:app:app", "'app:app' is no attribute"),
        ("main:create_app()", "give --factory and 'main:create_app'"),
        ("my-app", "cannot use the target 'my-app'"),
        ("my-app:app", "cannot use the target"),
        ("main..mod", "cannot use the target"),
        ("import", "cannot use the target"),
        ("main.py:a b", "'a b' is no attribute"),
        (" ", "cannot use the target ' '"),
    ],
)
def test_target_that_cannot_be_used_is_told(tmp_path, target, message):
    make(tmp_path, "main.py", "src/readme.txt", "src/my-app.py", "src/class.py")
    with pytest.raises(InputError, match=message or "'' is no attribute"):
        find(tmp_path, target)


def test_file_outside_of_the_named_folder_is_told(tmp_path):
    make(tmp_path, "main.py", "src/x.py")
    with pytest.raises(InputError, match=r"it is not below app.dir"):
        find(tmp_path, "../main.py", app_dir=tmp_path / "src")


def test_named_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(InputError, match=r"app.dir .*/src is no folder"):
        find(tmp_path, "main:app", app_dir=tmp_path / "src")


@pytest.mark.parametrize("target", ["main.py", "main", None])
def test_factory_needs_the_functions_name(tmp_path, target):
    make(tmp_path, "main.py")
    with pytest.raises(InputError, match=r"name the function, such as main(.py)?:create_app"):
        find(tmp_path, target, factory=True)


def test_nothing_is_imported(tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('imported')")
    assert find(tmp_path).module == "main"
