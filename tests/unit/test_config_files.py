from pathlib import Path

import pytest

from fairlead.config.files import read_config
from fairlead.errors import InputError


def read(folder: Path, explicit=None, **environ):
    return read_config(folder, environ, explicit)


def test_no_configuration_is_none(tmp_path):
    assert read(tmp_path) is None


def test_fairlead_toml_is_read(tmp_path):
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 9000\n")
    file = read(tmp_path)
    assert file.data == {"http": {"port": 9000}}
    assert file.label == "fairlead.toml"
    assert file.folder == tmp_path


def test_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "fairlead.toml").write_bytes(b"\xef\xbb\xbf[http]\nport = 9000\n")
    assert read(tmp_path).data == {"http": {"port": 9000}}


def test_table_of_pyproject_is_read(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.fairlead.http]\nport = 9000\n')
    file = read(tmp_path)
    assert file.data == {"http": {"port": 9000}}
    assert file.where(("http", "port")) == "pyproject.toml:5"


def test_pyproject_without_our_table_is_no_configuration(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["fairlead"]\n')
    assert read(tmp_path) is None


def test_broken_pyproject_that_never_mentions_us_is_left_alone(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project\n")
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 1\n")
    assert read(tmp_path).data == {"http": {"port": 1}}


def test_both_files_are_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.fairlead.http]\nport = 1\n")
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 1\n")
    with pytest.raises(InputError, match=r"both fairlead.toml and \[tool.fairlead\] in pyproject.toml"):
        read(tmp_path)


def test_named_file_decides_when_both_are_there(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.fairlead.http]\nport = 1\n")
    (tmp_path / "fairlead.toml").write_text("[http]\nport = 2\n")
    assert read(tmp_path, "pyproject.toml").data["http"]["port"] == 1
    assert read(tmp_path, FAIRLEAD_CONFIG="fairlead.toml").data["http"]["port"] == 2
    assert read(tmp_path, "pyproject.toml", FAIRLEAD_CONFIG="fairlead.toml").data["http"]["port"] == 1


def test_named_file_elsewhere_is_called_by_its_whole_path(tmp_path):
    place = tmp_path / "etc" / "shop.toml"
    place.parent.mkdir()
    place.write_text("[http]\nport = 2\n")
    file = read(tmp_path / "elsewhere", str(place))
    assert file.label == str(place)
    assert file.folder == place.parent


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.toml", None, "cannot read the configuration missing.toml: No such file"),
        ("folder.toml", "folder", "cannot read the configuration folder.toml: Is a directory"),
        ("latin.toml", b'[app]\nname = "caf\xe9"\n', r"cannot read latin.toml: it is not UTF-8 text \(byte 17\)"),
        ("syntax.toml", b"[http]\nport = \n", r"cannot read syntax.toml: Invalid value \(at line 2, column 8\)"),
        ("twice.toml", b"[http]\nport = 1\nport = 2\n", r"cannot read twice.toml: .*line 3"),
        ("digits.toml", b"a = " + b"1" * 5000, "cannot read digits.toml: it is no sensible TOML"),
        ("deep.toml", b"a = " + b"[" * 20000, "cannot read deep.toml: "),
        ("pyproject.toml", b"[project]\n", r"cannot use pyproject.toml: it has no \[tool.fairlead\] table"),
        ("pyproject.toml", b"[tool]\nfairlead = 3\n", "cannot use pyproject.toml: tool.fairlead = 3; allowed: a table"),
    ],
)
def test_unusable_named_file_is_an_error_with_its_cause(tmp_path, name, content, message):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path, name)


TEXT = '''\
app.name = "shop"
replication = { workers = 3 }
[http]
root_path = """
port = 1
"""
port = 2
"headers" = { X = "1" }  # port = 3

[ restarts ] # comment
hang_timeout = "1s"
[[steps]]
run = "x"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("app", "name"), 1),
        (("replication", "workers"), 2),
        (("http", "port"), 7),
        (("http", "root_path"), 4),
        (("http", "headers", "X"), 8),
        (("restarts", "hang_timeout"), 11),
        (("restarts", "park"), 10),
        (("steps",), 12),
    ],
)
def test_key_is_found_on_its_line(tmp_path, key, line):
    (tmp_path / "fairlead.toml").write_text(TEXT)
    assert read(tmp_path).where(key) == f"fairlead.toml:{line}"


def test_key_that_is_not_written_is_told_by_the_file(tmp_path):
    (tmp_path / "fairlead.toml").write_text(TEXT)
    assert read(tmp_path).where(("memory", "preload")) == "fairlead.toml"


@pytest.mark.parametrize("made", ["folder", "link to nothing"])
def test_fairlead_toml_that_is_no_file_is_told_and_not_passed_over(tmp_path, made):
    place = tmp_path / "fairlead.toml"
    place.mkdir() if made == "folder" else place.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"cannot read the configuration fairlead.toml: (Is a directory|No such file)"):
        read(tmp_path)
