"""Inherited listening sockets: which are taken, and where they listen."""

import os
import socket

import pytest

from fairlead.host.activation import address_of, take_inherited


@pytest.fixture
def three():
    """A listening TCP socket, a listening unix socket and a pipe, on descriptors in a row."""
    first = 200
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("")
        unix.listen()
        read, write = os.pipe()
        os.close(write)
        for number, descriptor in enumerate((tcp.fileno(), unix.fileno(), read)):
            os.dup2(descriptor, first + number)
        os.close(read)
        yield first, tcp.getsockname()
        os.close(first + 2)


def test_listening_sockets_are_taken_with_their_names(three) -> None:
    first, place = three
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:local:pipe", "HOME": "/"}
    taken = take_inherited(environ, 7, first)
    assert environ == {"HOME": "/"}
    assert [given.name for given in taken] == ["web", "local"]
    assert taken[0].address == ("tcp", *place)
    assert taken[1].address[0] == "unix"
    assert not any(given.sock.get_inheritable() or given.sock.getblocking() for given in taken)
    for given in taken:
        given.sock.close()


@pytest.mark.parametrize(
    "variables", [{}, {"LISTEN_PID": "8", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}]
)
def test_what_is_meant_for_another_process_is_left_and_forgotten(variables) -> None:
    environ = dict(variables)
    assert take_inherited(environ, 7, 200) == []
    assert environ == {}


@pytest.mark.parametrize(
    ("place", "address"),
    [
        (("tcp", "127.0.0.1", 8000, ""), ("tcp", "127.0.0.1", 8000)),
        (("tcp", "localhost", 8000, ""), ("tcp", "127.0.0.1", 8000)),
        (("tcp", "0:0::1", 8000, ""), ("tcp", "::1", 8000)),
        (("unix", "", 0, "/run/a.sock"), ("unix", "/run/a.sock", 0)),
    ],
)
def test_place_has_the_address_that_its_socket_shows(place, address) -> None:
    assert address_of(*place) == address
