import json
import os
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairlead.cli import control_client
from fairlead.cli.control_client import ControlClient, wait_gone
from fairlead.cli.instances import Instance
from fairlead.errors import FairleadError


@pytest.fixture
def server(tmp_path):
    """A control socket that sends the given bytes to one client; returns the instance and what was received."""
    threads = []

    def start(*pieces: bytes, hold: threading.Event | None = None):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(tmp_path / "shop.sock"))
        listener.listen()
        received: list[bytes] = []

        def serve():
            with listener, listener.accept()[0] as connection:
                received.append(connection.recv(65536))
                for piece in pieces:
                    connection.sendall(piece)
                if hold is not None:
                    hold.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return Instance("shop", tmp_path / "shop.sock"), received

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def line(**answer) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def ask(instance, command="reload", arguments=None, progress=lambda _text: None, silence=5.0):
    with ControlClient(instance) as client:
        return client.ask(command, arguments, progress, silence)


def test_request_is_one_line_of_json(server):
    instance, received = server(line(ok=True, result={}))
    ask(instance, "scale", {"workers": "+1"})
    assert received == [b'{"command": "scale", "arguments": {"workers": "+1"}}\n']


@pytest.mark.parametrize("sent_before", [True, False], ids=["reset", "broken pipe"])
def test_request_that_a_supervisor_did_not_read_before_it_became_another_program_is_sent_again(tmp_path, sent_before):
    instance = Instance("shop", tmp_path / "shop.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(instance.socket))
        listener.listen()
        with ControlClient(instance) as client, ThreadPoolExecutor() as pool:
            first, _ = listener.accept()
            if not sent_before:
                first.close()
            answer = pool.submit(client.ask, "scale", {"workers": "3"})
            if sent_before:
                assert select.select([first], [], [], 10)[0], "the request waits"
                first.close()
            second, _ = listener.accept()
            with second:
                assert json.loads(second.recv(65536))["arguments"] == {"workers": "3"}
                second.sendall(line(ok=True, result={"workers": 3}))
            assert answer.result(10) == {"workers": 3}


def test_progress_comes_before_the_result(server):
    instance, _ = server(line(progress="importing"), line(progress="forking"), line(ok=True, result={"release": 2}))
    told = []
    assert ask(instance, progress=told.append) == {"release": 2}
    assert told == ["importing", "forking"]


def test_answer_in_pieces_is_put_together(server):
    answer = line(progress="a") + line(ok=True, result={"text": "ü" * 10})
    instance, _ = server(*(answer[i : i + 1] for i in range(len(answer))))
    assert ask(instance)["text"] == "ü" * 10


def test_refusal_is_told_with_its_detail(server):
    instance, _ = server(line(ok=False, error="cannot reload: the app fails", detail="Traceback …\nValueError: x\n"))
    with pytest.raises(FairleadError) as caught:
        ask(instance)
    assert str(caught.value) == "cannot reload: the app fails\nTraceback …\nValueError: x"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"rubbish\n", "the supervisor's answer is not one of ours: b'rubbish'"),
        (b"[1]\n", "the supervisor's answer is not one of ours"),
        (b"\xff\xfe\n", "the supervisor's answer is not one of ours"),
        (b"{}\n", "cannot reload: the supervisor did not say why"),
        (b"", "cannot reload shop: the supervisor went away without an answer"),
        (line(progress="half of it"), "cannot reload shop: the supervisor went away without an answer"),
        (b'{"ok": tr', "cannot reload shop: the supervisor went away without an answer"),
    ],
)
def test_answer_that_is_none_is_an_error(server, answer, message):
    instance, _ = server(answer)
    with pytest.raises(FairleadError, match=message):
        ask(instance)


def test_endless_answer_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(control_client, "LONGEST_ANSWER", 1000)
    instance, _ = server(b"x" * 2000)
    with pytest.raises(FairleadError, match="it is longer than 1000 bytes"):
        ask(instance)


@pytest.mark.parametrize("said", [b"", line(progress="importing"), b'{"ok"'])
def test_silence_ends_with_a_deadline(server, said):
    hold = threading.Event()
    instance, _ = server(said, hold=hold)
    with pytest.raises(
        FairleadError, match=r"cannot reload shop: the supervisor does not answer \(nothing for 0.1 s\)"
    ):
        ask(instance, silence=0.1)
    hold.set()


def test_nobody_there_is_told(tmp_path):
    with pytest.raises(FairleadError, match="cannot reach the instance shop: it is not running"):
        ControlClient(Instance("shop", tmp_path / "shop.sock"))


def test_stale_socket_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "shop.sock"))
    with pytest.raises(FairleadError, match="cannot reach the instance shop: it is not running"):
        ControlClient(Instance("shop", tmp_path / "shop.sock"))


def test_peer_is_the_process_that_listens(server):
    instance, _ = server(line(ok=True))
    with ControlClient(instance) as client:
        assert not wait_gone(client.peer(), 0)
        client.ask("status")


def test_end_of_a_process_is_noticed():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert wait_gone(os.pidfd_open(pid), 10)
    os.waitpid(pid, 0)


def test_silence_about_the_status_reads_as_a_sentence(server):
    hold = threading.Event()
    instance, _ = server(hold=hold)
    with pytest.raises(FairleadError, match="cannot read the status of shop: the supervisor does not answer"):
        ask(instance, "status", silence=0.1)
    hold.set()
