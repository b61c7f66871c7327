import contextlib
import json
import os
import select
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from http_harness import TextSink
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.observability.events import EventLog
from fairlead.worker.access_log import AccessLog, escape


def entry(log: AccessLog, target: bytes = b"/", client: str = "127.0.0.1:5") -> None:
    log.add(client, "GET", target, "1.1", 200, 10.0, 10.0012)


def access_log(path: Path, form: str = "text", sink: TextSink | None = None) -> AccessLog:
    return AccessLog(form, EventLog("text", "worker 1", sink or TextSink()), str(path))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):  # a test may have closed its end
            os.close(descriptor)


def test_a_line_says_who_asked_for_what_and_what_came_of_it(tmp_path: Path) -> None:
    log = access_log(tmp_path / "log")
    entry(log, b"/path?x")
    assert (tmp_path / "log").read_text() == ""
    log.close()
    line = (tmp_path / "log").read_text()
    assert line.endswith('Z 127.0.0.1:5 "GET /path?x HTTP/1.1" 200 1.2ms\n')


def test_each_line_has_the_time_of_its_own_answer_to_the_millisecond(tmp_path: Path) -> None:
    log = access_log(tmp_path / "log")
    answered = (10.0005, 10.0009, 10.0505, 11.0505, 61.0505)
    for now in answered:
        log.add("-", "GET", b"/", "1.1", 200, 10.0, now)
    offset = log._offset
    log.close()
    stamps = [line.partition(" ")[0] for line in (tmp_path / "log").read_text().splitlines()]
    told = [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]
    assert told == [int((now + offset) * 1000) / 1000 for now in answered]


def test_json_says_the_same(tmp_path: Path) -> None:
    log = access_log(tmp_path / "log", "json")
    entry(log, b"/path?x")
    log.close()
    said = json.loads((tmp_path / "log").read_text())
    assert said.pop("time").endswith("Z")
    assert said == {
        "event": "access",
        "client": "127.0.0.1:5",
        "method": "GET",
        "target": "/path?x",
        "http": "1.1",
        "status": 200,
        "seconds": 0.0012,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/plain", "/plain"),
        ('a"b', 'a\\"b'),
        ("a\\b", "a\\\\b"),
        ("a\nb", "a\\x0ab"),
        ("é\x1b[2J", "\\xe9\\x1b[2J"),
        ("€", "\\u20ac"),
    ],
)
def test_what_could_end_a_field_or_line_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["text", "json"]))
def test_no_target_can_forge_a_line(tmp_path_factory: Any, target: bytes, form: str) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = access_log(path, form)
    entry(log, target)
    log.close()
    data = path.read_bytes()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    if form == "json":
        json.loads(data)


def test_a_target_of_any_length_is_a_line_that_fits_a_pipe(tmp_path: Path) -> None:
    log = access_log(tmp_path / "log")
    entry(log, b"/" + b"\xff" * 100_000)
    log.close()
    assert len((tmp_path / "log").read_bytes()) < select.PIPE_BUF


def test_many_lines_are_written_without_waiting_for_a_flush(tmp_path: Path) -> None:
    log = access_log(tmp_path / "log")
    for _ in range(2000):
        entry(log)
    assert (tmp_path / "log").stat().st_size >= 64 * 1024
    log.close()
    assert (tmp_path / "log").read_text().count("\n") == 2000


def test_a_reader_that_is_stuck_does_not_block_and_costs_lines_only(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = TextSink()
    log = AccessLog("text", EventLog("text", "worker 1", sink), descriptor=writing)
    for _ in range(40_000):
        entry(log)
    log.flush()
    assert "access_log.failed cause='the reader is too slow'" in sink.text
    assert sink.text.count("access_log.failed") == 1
    read = b""
    while select.select([reading], [], [], 0)[0]:
        read += os.read(reading, 65536)
        log.flush()
    entry(log)
    log.flush()
    read += os.read(reading, 65536)
    assert "access_log.works_again lost=" in sink.text
    assert all(line.endswith(b"1.2ms") for line in read.splitlines())


def test_a_line_is_never_torn_on_a_pipe(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pipe
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(bytes(data)) or write(fd, data))
    log = AccessLog("text", EventLog("text", "worker 1", TextSink()), descriptor=writing)
    for number in range(200):
        entry(log, b"/" + b"x" * (number * 7))
        if number % 20 == 0:
            log.flush()
            os.read(reading, 65536)
    log.flush()
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in written)
    log.close()


def test_a_reader_that_is_gone_is_said_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    sink = TextSink()
    log = AccessLog("text", EventLog("text", "worker 1", sink), descriptor=writing)
    for _ in range(3):
        entry(log)
        log.flush()
    assert sink.text.count("access_log.failed cause='Broken pipe'") == 1


def test_a_full_disk_is_said_once_and_forgotten_when_it_is_over(tmp_path: Path) -> None:
    sink = TextSink()
    log = AccessLog("text", EventLog("text", "worker 1", sink), "/dev/full")
    entry(log)
    log.flush()
    entry(log)
    log.flush()
    assert sink.text.count("access_log.failed cause='No space left on device' file=/dev/full") == 1
    log.close()


def test_reopening_begins_a_new_file_at_the_old_path(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = access_log(path)
    entry(log, b"/old")
    path.rename(tmp_path / "log.1")
    log.reopen()
    entry(log, b"/new")
    log.close()
    assert "/old" in (tmp_path / "log.1").read_text()
    assert "/new" in path.read_text()


def test_reopening_that_fails_goes_on_with_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = TextSink()
    log = access_log(folder / "log", sink=sink)
    folder.rename(tmp_path / "elsewhere")
    log.reopen()
    entry(log)
    log.close()
    assert "access_log.reopen_failed" in sink.text
    assert (tmp_path / "elsewhere" / "log").read_text().count("\n") == 1
