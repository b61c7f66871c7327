"""`fairlead export`: what it writes, and what it never overwrites."""

import os
from pathlib import Path

import pytest

from fairlead.cli.main import main


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("FAIRLEAD_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "main.py").write_text("app = None\n")
    monkeypatch.chdir(folder)
    # The app lies in a temporary folder here, which a service does not see.
    monkeypatch.setattr("fairlead.targets.systemd._HIDDEN", ())
    return folder


@pytest.fixture
def fairlead(capfd: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_export_writes_the_files_and_says_who_takes_care_of_what(shop: Path, fairlead) -> None:
    code, out, _err = fairlead("export", "systemd", "--out", "units")
    assert code == 0
    assert "written: units/shop.service" in out
    assert out.count("left to Fairlead") + out.count("rendered  ") == 6
    assert f"WorkingDirectory={shop}\n" in (shop / "units/shop.service").read_text()
    code, out, _err = fairlead("export", "systemd", "--out", "units")
    assert code == 0
    assert "unchanged: units/shop.service" in out


def test_export_takes_the_configuration_and_says_that_the_shells_is_not_used(shop: Path, fairlead, monkeypatch) -> None:
    (shop / "fairlead.toml").write_text('[http]\nport = 9000\n[startup]\nwritable = ["data"]\n')
    monkeypatch.setenv("FAIRLEAD_HTTP_PORT", "7000")
    monkeypatch.setenv("PORT", "7001")
    code, _out, err = fairlead("export", "systemd")
    assert code == 0
    assert "note: PORT of this shell is not used" in err
    assert "note: FAIRLEAD_HTTP_PORT of this shell is not used" in err
    assert "ListenStream=127.0.0.1:9000\n" in (shop / "shop.socket").read_text()
    assert f"ReadWritePaths={shop}/data\n" in (shop / "shop.service").read_text()


@pytest.mark.parametrize("text", ["[Unit]\n", None])
def test_export_refuses_a_file_that_is_not_as_it_wrote_it_and_writes_none(shop: Path, fairlead, text) -> None:
    if text is None:
        fairlead("export", "systemd")
        text = (shop / "shop.socket").read_text().replace("Backlog=2048", "Backlog=64")
        (shop / "shop.service").unlink()
    (shop / "shop.socket").write_text(text)
    code, _out, err = fairlead("export", "systemd")
    assert code == 1
    assert "cannot write shop.socket: the file there is" in err
    assert not (shop / "shop.service").exists()
    assert (shop / "shop.socket").read_text() == text
    assert fairlead("export", "systemd", "--force")[0] == 0
    assert fairlead("export", "systemd", "--check")[0] == 0


def test_a_file_of_an_older_configuration_is_replaced(shop: Path, fairlead) -> None:
    fairlead("export", "systemd")
    (shop / "fairlead.toml").write_text("[http]\nport = 9000\n")
    code, out, err = fairlead("export", "systemd", "--check")
    assert code == 1
    assert "-ListenStream=127.0.0.1:8000\n+ListenStream=127.0.0.1:9000\n" in out
    assert "cannot confirm shop.socket" in err
    code, out, _err = fairlead("export", "systemd")
    assert code == 0
    assert "written: shop.socket" in out
    assert "unchanged: shop.service" in out
    assert fairlead("export", "systemd", "--check")[:2] == (0, "up to date: shop.service, shop.socket\n")


def test_unknown_target_names_the_known_ones(shop: Path, fairlead) -> None:
    code, _out, err = fairlead("export", "upstart")
    assert code == 2
    assert "cannot export to 'upstart': no such target; allowed: systemd" in err


def test_files_are_as_before_when_one_of_them_cannot_be_written(shop: Path, fairlead) -> None:
    (shop / "requirements.txt").write_text("fastapi\n")
    assert fairlead("export", "dockerfile")[0] == 0
    before = (shop / "Dockerfile").read_text()
    (shop / "fairlead.toml").write_text("[http]\nport = 9000\n")
    (shop / "requirements.txt").unlink()
    (shop / "pyproject.toml").write_text("[project]\nname = 'shop'\ndependencies = ['fastapi']\n")
    (shop / ".dockerignore").unlink()
    # The second file's temporary one cannot be made: its name is taken by a folder.
    (shop / f".dockerignore.{os.getpid()}.new").mkdir()
    code, _out, err = fairlead("export", "dockerfile")
    assert (code, "cannot write .dockerignore: Is a directory" in err) == (1, True)
    assert (shop / "Dockerfile").read_text() == before
    assert not (shop / ".dockerignore").exists()


def test_pyproject_that_lists_no_dependencies_is_not_taken_for_a_lock(shop: Path, fairlead) -> None:
    for text in ("[tool.fairlead.http]\nport = 9000\n", "[project]\nname = 'shop'\ndynamic = ['dependencies']\n"):
        (shop / "pyproject.toml").write_text(text)
        code, _out, err = fairlead("export", "dockerfile")
        assert (code, "says what the app depends on" in err) == (2, True)
        assert "or pyproject.toml with project.dependencies" in err
    assert not (shop / "Dockerfile").exists()


def test_files_that_requirements_take_in_are_copied_to_where_they_are(shop: Path, fairlead) -> None:
    (shop / "requirements").mkdir()
    (shop / "requirements.txt").write_text(
        "-r requirements/base.txt\n--constraint=pins.txt\n-r https://example.org/x.txt\n"
    )
    (shop / "requirements/base.txt").write_text("fastapi\n-rmore.txt  # and more\n-r ../requirements.txt\n")
    (shop / "requirements/more.txt").write_text("httpx\n-c ../../outside.txt\n")
    assert fairlead("export", "dockerfile")[0] == 0
    copied = [line for line in (shop / "Dockerfile").read_text().splitlines() if line.startswith("COPY re")]
    assert copied == [
        "COPY requirements.txt ./",
        "COPY requirements/base.txt ./requirements/",
        "COPY requirements/more.txt ./requirements/",
    ]
    assert "COPY pins.txt ./\n" in (shop / "Dockerfile").read_text()


def test_lock_that_the_image_does_not_follow_is_told(shop: Path, fairlead) -> None:
    (shop / "pyproject.toml").write_text("[project]\nname = 'shop'\ndependencies = ['fastapi']\n")
    (shop / "poetry.lock").write_text("")
    _code, _out, err = fairlead("export", "compose")
    assert "note: poetry.lock is not read: the image gets what pyproject.toml says" in err
    assert "poetry.lock" not in fairlead("export", "systemd")[2]


def test_next_command_names_the_app_as_it_is_called_there(shop: Path, fairlead) -> None:
    (shop / "requirements.txt").write_text("fastapi\n")
    (shop / "fairlead.toml").write_text('[app]\nname = "PORTAL.example"\n')
    code, out, err = fairlead("export", "compose")
    assert code == 0, err
    assert "docker stack deploy -c compose.yaml PORTAL-example" in out
    assert "copy PORTAL.example.conf to" in fairlead("export", "supervisor")[1]
