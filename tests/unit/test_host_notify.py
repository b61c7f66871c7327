"""sd_notify's protocol against a real datagram socket."""

import os
import socket
from pathlib import Path

import pytest

from fairlead.host.notify import take_manager


@pytest.fixture
def manager_socket(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_lines_arrive_as_one_datagram(manager_socket) -> None:
    environ = {"NOTIFY_SOCKET": manager_socket.getsockname(), "PATH": "/bin"}
    manager = take_manager(environ, 7)
    assert manager is not None
    assert environ == {"PATH": "/bin"}
    assert manager.watchdog is None
    assert manager.tell(["READY=1", "STATUS=serves"])
    assert manager_socket.recv(4096) == b"READY=1\nSTATUS=serves"
    manager.close()


def test_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0fairlead-test-{os.getpid()}")
        sock.settimeout(5)
        manager = take_manager({"NOTIFY_SOCKET": f"@fairlead-test-{os.getpid()}"}, 7)
        assert manager is not None
        assert manager.tell(["READY=1"])
        assert sock.recv(100) == b"READY=1"
        manager.close()


def test_kept_socket_travels_beside_its_name(manager_socket) -> None:
    manager = take_manager({"NOTIFY_SOCKET": manager_socket.getsockname()}, 7)
    assert manager is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert manager.keep(listening.fileno())
        data, descriptors, _flags, _address = socket.recv_fds(manager_socket, 4096, 4)
        with socket.socket(fileno=descriptors[0]) as received:
            assert received.getsockname() == listening.getsockname()
    assert data == b"FDSTORE=1\nFDNAME=fairlead"
    manager.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_counts_only_when_it_is_meant_for_this_process(tmp_path, variables, seconds) -> None:
    manager = take_manager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **variables}, 7)
    assert manager is not None
    assert manager.watchdog == seconds
    manager.close()


def test_manager_that_is_gone_is_no_error(tmp_path) -> None:
    manager = take_manager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, 7)
    assert manager is not None
    assert not manager.tell(["READY=1"])
    manager.close()


@pytest.mark.parametrize("variables", [{}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_that_we_can_talk_to_there_is_none(variables) -> None:
    assert take_manager(dict(variables), 7) is None
