"""The systemd target: its files to the letter, what systemd itself says about them, and what it refuses."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fairlead.errors import InputError
from fairlead.plan.model import Bind, LogPlan
from fairlead.targets.model import CONCEPTS, Site
from fairlead.targets.registry import TARGETS
from fairlead.targets.systemd import render
from fairlead.testing.fake_host import make_plan

GOLDEN = Path(__file__).parent / "golden" / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def site(*binds: Bind, log: LogPlan | None = None, **changes: object) -> Site:
    plan = make_plan(
        name="shop", cwd="/srv/shop", binds=binds or (Bind("tcp", "127.0.0.1", 8000),), log=log or LogPlan()
    )
    program = ("/usr/bin/true", "run")
    return Site(**{"plan": plan, "program": program, "reads": ("/srv/shop", "/usr"), **changes})  # type: ignore[arg-type]


SITES = {
    "plain": site(),
    "named_user": site(
        Bind("tcp", "0.0.0.0", 80),
        Bind("tcp", "::", 80),
        Bind("tcp", "fe80::1%lo", 8000),
        Bind("unix", path="/run/shop 1.sock", mode=0o666),
        user="shop",
        group="www-data",
        reads=("/home/shop/app",),
        writes=("/srv/shop data",),
        environment_file="/etc/shop/environment",
        credentials=(("db_password", "/etc/shop/db password"),),
        log=LogPlan(file="/var/log/shop/events.log"),
        program=("/usr/bin/true", "run", "--name", '100% $HOME "x"'),
    ),
    "personal": site(personal=True, reads=("/home/ann/shop",)),
    "no_fixed_address": site(Bind("tcp", "127.0.0.1", 0), Bind("tcp", "intern.example", 8080)),
}


@pytest.mark.parametrize("name", SITES)
def test_files_are_to_the_letter(name: str) -> None:
    files = {file.path: file.text for file in render(SITES[name])}
    assert files == {path.name: path.read_text() for path in (GOLDEN / name).iterdir()}


@needs_systemd
@pytest.mark.parametrize("name", ["plain", "named_user", "no_fixed_address"])
def test_systemd_finds_nothing_wrong_and_little_exposed(name: str, tmp_path: Path) -> None:
    for file in render(SITES[name]):
        # A user that is not on this machine would be complained about; the rest is as rendered.
        (tmp_path / file.path).write_text(file.text.replace("User=shop", "User=daemon"))
    units = sorted(str(path) for path in tmp_path.iterdir())
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (verified.stderr, verified.returncode) == ("", 0)
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / "shop.service")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert rated.returncode == 0, rated.stdout


@needs_systemd
def test_systemd_finds_nothing_wrong_with_a_users_units(tmp_path: Path) -> None:
    for file in render(SITES["personal"]):
        (tmp_path / file.path).write_text(file.text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", *units], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (verified.stderr, verified.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (site(Bind("fd", fd=3)), "http.bind 'fd:3'"),
        (site(reads=("/tmp/shop",)), "cannot run from /tmp/shop"),
        (site(Bind("tcp", "127.0.0.1", 443), personal=True), "cannot listen on 127.0.0.1:443 without root"),
        (site(Bind("tcp", "intern.example", 80)), "cannot listen on intern.example:80 without root"),
        (site(environment_file="/etc/a\nUser=root"), "line break"),
        (site(program=("/usr/bin/true", "run", "a\nUser=root")), "line break"),
    ],
)
def test_what_cannot_live_under_systemd_is_refused(wrong: Site, cause: str) -> None:
    with pytest.raises(InputError, match=r"^cannot ") as refused:
        render(wrong)
    assert cause in str(refused.value)


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_concept_has_somebody_who_takes_care_of_it(target) -> None:
    assert tuple(target.cares) == CONCEPTS
    assert all(care.how for care in target.cares.values())
