"""Supervisor, Dockerfile and Compose: their files to the letter, and what they refuse. They are run in tests/system."""

from pathlib import Path

import pytest
import yaml

from fairlead.companions.policy import Companion
from fairlead.errors import InputError
from fairlead.plan.model import Bind
from fairlead.startup.policy import StartupPolicy
from fairlead.targets.model import Site
from fairlead.targets.registry import TARGETS
from fairlead.testing.fake_host import make_plan

GOLDEN = Path(__file__).parent / "golden"


def site(*binds: Bind, probe: str | None = None, **changes: object) -> Site:
    plan = make_plan(
        name="Shop",
        cwd="/srv/shop",
        binds=binds or (Bind("tcp", "127.0.0.1", 8000),),
        startup=StartupPolicy(probe=probe),
    )
    fields: dict[str, object] = {
        "plan": plan,
        "program": ("/srv/venv/bin/fairlead", "run"),
        "lock": "requirements.txt",
        "python": "3.13",
    }
    return Site(**{**fields, "listed": bool(binds), **changes})  # type: ignore[arg-type]


SITES = {
    "plain": site(),
    "listed": site(
        Bind("tcp", "::", 80),
        Bind("tcp", "127.0.0.1", 9000),
        probe="/healthz",
        lock="uv.lock",
        config="deploy/fairlead.toml",
        user="shop",
        program=("/srv/venv/bin/fairlead", "run", "--config", "/srv/100% x/fairlead.toml"),
    ),
}


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("target", ["supervisor", "dockerfile", "compose"])
def test_files_are_to_the_letter(target: str, name: str) -> None:
    files = {file.path: file.text for file in TARGETS[target].render(SITES[name])}
    assert files == {path.name: path.read_text() for path in (GOLDEN / target / name).iterdir()}


@pytest.mark.parametrize("name", SITES)
def test_compose_file_is_yaml_that_builds_the_dockerfile_beside_it(name: str) -> None:
    files = {file.path: file.text for file in TARGETS["compose"].render(SITES[name])}
    service = yaml.safe_load(files["compose.yaml"])["services"]["Shop"]
    assert set(files) == {"compose.yaml", "Dockerfile", ".dockerignore"}
    assert (service["build"], service["read_only"], service["cap_drop"]) == (".", True, ["ALL"])
    assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (site(lock=None), "cannot write a Dockerfile: nothing in /srv/shop says what the app depends on"),
        (site(Bind("tcp", "127.0.0.1", 8000)), "cannot run in a container: http.bind has only 127.0.0.1:8000"),
    ],
)
def test_what_cannot_live_in_a_container_is_refused(wrong: Site, cause: str) -> None:
    for target in ("dockerfile", "compose"):
        with pytest.raises(InputError, match=r"^cannot ") as refused:
            TARGETS[target].render(wrong)
        assert cause in str(refused.value)


def test_pyproject_without_a_lock_has_its_dependencies_installed_apart_from_code() -> None:
    text = TARGETS["dockerfile"].render(site(lock="pyproject.toml"))[0].text
    assert text.index("['project']['dependencies']") < text.index("COPY . .")


def test_service_on_a_unix_socket_is_asked_through_its_control_socket() -> None:
    text = TARGETS["dockerfile"].render(site(Bind("unix", path="/run/shop/app.sock")))[0].text
    assert 'CMD ["fairlead", "status", "--name", "Shop", "--json"]' in text
    assert "EXPOSE" not in text


def test_swarm_gets_a_service_name_without_dots() -> None:
    dotted = site(plan=make_plan(name="api.example.org", cwd="/srv/shop", binds=(Bind("tcp", "127.0.0.1", 8000),)))
    compose = yaml.safe_load(TARGETS["compose"].render(dotted)[0].text)
    assert list(compose["services"]) == ["api-example-org"]
    assert compose["services"]["api-example-org"]["volumes"] == ["state:/var/lib/api.example.org"]


def test_path_that_supervisor_would_take_for_a_comment_is_refused() -> None:
    with pytest.raises(InputError, match=r"^cannot write the folder '/srv/a ;b' into Supervisor's file"):
        TARGETS["supervisor"].render(site(plan=make_plan(name="shop", cwd="/srv/a ;b")))


def test_memory_budget_that_is_a_size_becomes_a_limit_a_tenth_beyond_it() -> None:
    limited = site(memory=1_000_000_000)
    service = yaml.safe_load(TARGETS["compose"].render(limited)[0].text)["services"]["Shop"]
    assert service["deploy"]["resources"]["limits"]["memory"] == "1100000000"
    assert "MemoryMax=1100000000\n" in TARGETS["systemd"].render(limited)[0].text


@pytest.mark.parametrize("target", ["systemd", "supervisor", "compose"])
def test_nobody_kills_the_service_before_its_companions_have_had_their_time(target: str) -> None:
    patient = make_plan(name="shop", cwd="/srv/shop", companions=(Companion("queue", ("q",), stop_timeout=300.0),))
    files = TARGETS[target].render(site(plan=patient))
    texts = "".join(file.text for file in files)
    assert any(line in texts for line in ("TimeoutStopSec=310s", "stopwaitsecs=310", "stop_grace_period: 310s"))
