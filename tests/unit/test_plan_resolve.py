from pathlib import Path

import pytest

from fairlead.app.discovery import FoundApp
from fairlead.config.settings import Settings
from fairlead.errors import InputError
from fairlead.plan.model import AppPlan, Bind, Identity, Plan
from fairlead.plan.names import default_name, runtime_dirs, state_dir
from fairlead.plan.resolve import Facts, resolve

PLAIN = "serves plain HTTP: https.domains is not set"


def facts(**changes):
    given = {
        "app": FoundApp("pkg.mod", "app", Path("/srv/shop"), Path("/srv/shop/pkg/mod.py"), "found the app"),
        "cwd": Path("/srv/shop"),
        "folder": Path("/srv/shop"),
        "runtime_dir": Path("/run/fairlead"),
        "state_dir": Path("/var/lib/fairlead"),
        "cpus": 2.0,
        "memory": 0,
        "oom_files": (),
        "uid": 1000,
        "identity": None,
        "ipv6": True,
        "command": ("python", "run"),
    }
    return Facts(**given | changes)


def plan_of(tables=None, **changes):
    return resolve(Settings.model_validate(tables or {}), facts(**changes))


def test_plan_of_the_defaults():
    plan = plan_of()
    assert plan.name == "shop"
    assert plan.app == AppPlan("pkg.mod", "app", False, "/srv/shop", "/srv/shop/pkg/mod.py")
    assert plan.binds == (Bind("tcp", host="127.0.0.1", port=8000),)
    assert plan.restarts.idle_grace == plan.http.keep_alive_timeout == 5.0
    assert plan.log.format == "text"
    assert plan.command == ("python", "run")
    assert plan.notes == ("found the app", PLAIN, "replication.workers is auto: 2, for 2 usable CPUs")


def test_defaults_of_plan_and_settings_are_the_same():
    plan = plan_of()
    empty = Plan(name="shop", app=plan.app, binds=(), runtime_dir="")
    for part in ("http", "startup", "restarts", "memory", "log"):
        assert getattr(plan, part) == getattr(empty, part), part


def test_plan_travels_as_json():
    tables = {"http": {"headers": {"X-A": "b"}, "bind": ["unix:/a.sock", "fd:3"]}, "startup": {"probe": "/healthz"}}
    plan = plan_of(tables, identity=Identity("www", 33, 33, (33, 44), "/var/www"))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(("cpus", "workers"), [(0.3, 1), (1.0, 1), (1.5, 2), (8.0, 8), (4000.0, 512)])
def test_auto_workers_follow_the_usable_cpus(cpus, workers):
    assert plan_of(cpus=cpus).replication.workers == workers


def test_number_of_workers_is_taken_as_it_is():
    plan = plan_of({"replication": {"workers": 7}})
    assert plan.replication.workers == 7
    assert plan.notes == ("found the app", PLAIN)


def test_binds_take_the_place_of_host_and_port():
    tables = {"http": {"bind": ["[::1]:1", "unix:/run/a.sock", "fd:3"], "unix_mode": "0600", "backlog": 9}}
    assert plan_of(tables).binds == (
        Bind("tcp", host="::1", port=1, mode=0o600, backlog=9),
        Bind("unix", path="/run/a.sock", mode=0o600, backlog=9),
        Bind("fd", fd=3, mode=0o600, backlog=9),
    )


def test_idle_grace_of_zero_is_not_the_default():
    assert plan_of({"restarts": {"idle_grace": 0}}).restarts.idle_grace == 0


def test_root_without_a_user_is_said():
    assert "started as root, and app.user is not set: the app runs as root" in plan_of(uid=0).notes
    assert len(plan_of({"app": {"user": "www"}}, uid=0).notes) == 3


def test_unix_socket_with_too_long_a_path_is_refused():
    with pytest.raises(InputError, match=r"for http.bind: the path of a unix socket has at most 107 bytes"):
        plan_of({"http": {"bind": [f"unix:/{'x' * 107}"]}})
    assert plan_of({"http": {"bind": [f"unix:/{'x' * 106}"]}})


def test_runtime_folder_with_too_long_a_path_is_refused():
    with pytest.raises(InputError, match="for the control socket"):
        plan_of(runtime_dir=Path("/" + "x" * 100))


@pytest.mark.parametrize(
    ("environ", "uid", "first", "others"),
    [
        ({"FAIRLEAD_RUNTIME_DIR": "/a", "RUNTIME_DIRECTORY": "/b"}, 0, "/a", []),
        ({"RUNTIME_DIRECTORY": "/run/shop:/run/more"}, 0, "/run/shop", ["/run/fairlead"]),
        ({"RUNTIME_DIRECTORY": "/run/shop", "XDG_RUNTIME_DIR": "/x"}, 7, "/run/shop", ["/run/fairlead", "/x/fairlead"]),
        ({}, 0, "/run/fairlead", []),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/fairlead", []),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/fairlead", ["/tmp/fairlead-7", "/run/fairlead"]),
        ({}, 7, "/tmp/fairlead-7", ["/run/fairlead"]),
    ],
)
def test_runtime_folder_follows_environment_and_user(environ, uid, first, others):
    folders = [str(folder) for folder in runtime_dirs(environ, uid)]
    assert folders[0] == first
    assert set(others) <= set(folders)


def test_relative_runtime_folder_becomes_absolute():
    assert runtime_dirs({"FAIRLEAD_RUNTIME_DIR": "run"}, 0) == (Path.cwd() / "run",)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("/srv/shop", "shop"), ("/srv/My Shop!", "My-Shop"), ("/srv/.hidden", "hidden"), ("/", "app"), ("/srv/äöü", "app"),
     ("/srv/" + "x" * 99, "x" * 64), ("/srv/a.b_c-d", "a.b_c-d")],
)  # fmt: skip
def test_default_name_is_a_valid_name(folder, name):
    assert default_name(Path(folder)) == name
    assert Settings.model_validate({"app": {"name": name}})


def speaks(tables, **changes):
    return {
        str(bind): bind.speaks
        for bind in plan_of({"https": {"domains": ["a.test"], "agree_tos": True}} | tables, **changes).binds
    }


def test_https_listens_on_every_address_at_the_usual_ports():
    assert speaks({}) == {"0.0.0.0:443": "https", "[::]:443": "https", "0.0.0.0:80": "redirect", "[::]:80": "redirect"}
    assert speaks({}, ipv6=False) == {"0.0.0.0:443": "https", "0.0.0.0:80": "redirect"}


def test_https_listens_on_the_host_that_is_set():
    assert speaks({"http": {"host": "10.0.0.1"}}) == {"10.0.0.1:443": "https", "10.0.0.1:80": "redirect"}


def test_https_for_this_machine_alone_stays_on_loopback():
    found = speaks({"https": {"mode": "internal"}})
    assert list(found) == ["127.0.0.1:8443", "[::1]:8443", "127.0.0.1:8080", "[::1]:8080"]


@pytest.mark.parametrize(("http", "spoken"), [("serve", {"[::]:80": "http"}), ("off", {})])
def test_plain_http_beside_https_can_serve_or_be_off(http, spoken):
    tables = {"https": {"mode": "internal", "domains": ["a.test"], "http": http}}
    assert {place: kind for place, kind in speaks(tables).items() if place == "[::]:80"} == spoken


def test_named_places_speak_https_but_for_unix_sockets():
    found = speaks({"http": {"bind": ["10.0.0.1:8443", "unix:/a.sock", "fd:3"]}})
    assert found == {"10.0.0.1:8443": "https", "unix:/a.sock": "http", "fd:3": "https", "10.0.0.1:80": "redirect"}


def test_store_is_where_its_owner_keeps_state():
    https = {"https": {"mode": "internal"}}
    assert plan_of(https).https.store == "/var/lib/fairlead/https"
    assert plan_of(https, identity=Identity("www", 33, 33)).https.store == "/var/lib/fairlead/https-www"


def test_processes_of_the_app_see_no_secret_of_the_authorities():
    issuer = {"name": "zerossl", "eab_key_id": "k", "eab_hmac_key": "c2VjcmV0"}
    plan = plan_of({"https": {"domains": ["a.test"], "agree_tos": True, "issuers": [issuer]}})
    assert "c2VjcmV0" in plan.to_json()
    assert "c2VjcmV0" not in plan.without_secrets().to_json()
    assert plan.without_secrets().https.certificates == plan.https.certificates


@pytest.mark.parametrize(
    ("environ", "uid", "folder"),
    [
        ({"STATE_DIRECTORY": "/s/one:/s/two"}, 0, "/s/one"),
        ({}, 0, "/var/lib/fairlead"),
        ({"XDG_STATE_HOME": "/x"}, 1000, "/x/fairlead"),
        ({"HOME": "/home/jo"}, 1000, "/home/jo/.local/state/fairlead"),
    ],
)
def test_state_folder_by_user_and_environment(environ, uid, folder):
    assert str(state_dir(environ, uid)) == folder
