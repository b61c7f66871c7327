import socket
from pathlib import Path

import pytest

from fairlead.cli.instances import find_instance, is_alive
from fairlead.errors import FairleadError


@pytest.fixture
def host(tmp_path):
    """A runtime folder with running instances, and a working folder called `here`."""
    sockets = []
    (tmp_path / "run").mkdir()
    (tmp_path / "here").mkdir()

    class Host:
        runtime = tmp_path / "run"
        here = tmp_path / "here"

        def start(self, *names: str) -> None:
            for name in names:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(str(self.runtime / f"{name}.sock"))
                listener.listen()
                sockets.append(listener)

        def leave_stale(self, name: str) -> None:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(self.runtime / f"{name}.sock"))

        def find(self, name=None, config=None, **environ) -> str:
            environ = {"FAIRLEAD_RUNTIME_DIR": str(self.runtime)} | environ
            instance = find_instance(name, config, self.here, environ, 1000)
            assert instance.socket == self.runtime / f"{instance.name}.sock"
            return instance.name

        def fails(self, message: str, *arguments, **environ) -> None:
            with pytest.raises(FairleadError, match=message):
                self.find(*arguments, **environ)

    yield Host()
    for listener in sockets:
        listener.close()


def test_only_instance_is_meant(host):
    host.start("shop")
    assert host.find() == "shop"


def test_named_instance_is_meant(host):
    host.start("shop", "blog")
    assert host.find("blog") == "blog"
    assert host.find(FAIRLEAD_APP_NAME="blog") == "blog"


def test_configuration_here_names_the_instance(host):
    host.start("shop", "blog", "here")
    (host.here / "fairlead.toml").write_text('[app]\nname = "blog"\n')
    assert host.find() == "blog"
    (host.here / "fairlead.toml").write_text("[http]\nport = 1\n")
    assert host.find() == "here"


def test_configuration_elsewhere_names_the_instance(host, tmp_path):
    host.start("shop", "blog")
    (tmp_path / "x.toml").write_text('[app]\nname = "blog"\n')
    assert host.find(None, str(tmp_path / "x.toml")) == "blog"


def test_folder_names_the_instance_when_several_run(host):
    host.start("shop", "here")
    assert host.find() == "here"


def test_several_instances_are_named(host):
    host.start("shop", "blog")
    host.fails("cannot choose the instance: blog, shop are running; name one with --name")


def test_none_is_told_with_the_places_that_were_looked_into(host):
    host.fails(rf"cannot find an instance: none is running \(looked into {host.runtime}\)")


def test_missing_runtime_folder_is_none_running(host):
    host.runtime.rmdir()
    host.fails("none is running")


def test_missing_instance_is_told_with_the_running_ones(host):
    host.start("shop")
    host.fails("no instance named blog is running; running: shop", "blog")


def test_configured_instance_that_does_not_run_is_not_replaced_by_another(host):
    host.start("shop")
    (host.here / "fairlead.toml").write_text("")
    host.fails("no instance named here is running; running: shop")


def test_stale_socket_is_no_instance(host):
    host.leave_stale("shop")
    host.fails("no instance named shop is running", "shop")
    host.fails("none is running")
    host.start("blog")
    assert host.find() == "blog"


def test_other_files_are_no_instances(host):
    for name in ("shop.lock", "shop.log", "shop.sock.old"):
        (host.runtime / name).write_text("1")
    (host.runtime / "dir.sock").mkdir()
    host.start("blog")
    assert host.find() == "blog"


def test_service_is_found_in_the_environment_of_a_login(tmp_path, host):
    host.start("shop")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "missing"), "RUNTIME_DIRECTORY": str(host.runtime)}
    assert find_instance("shop", None, host.here, environ, 1000).socket == host.runtime / "shop.sock"


def test_socket_without_listener_is_dead(host):
    host.leave_stale("shop")
    host.start("blog")
    assert not is_alive(host.runtime / "shop.sock")
    assert is_alive(host.runtime / "blog.sock")
    assert not is_alive(Path("/nowhere/x.sock"))
