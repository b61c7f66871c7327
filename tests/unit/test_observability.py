"""The event log and the scoreboard."""

import json
import os
from pathlib import Path

from fairlead.observability.events import EventLog, FileSink, ThreadedSink
from fairlead.observability.scoreboard import CAPACITY, Column, Scoreboard, create_scoreboard_file


class Lines:
    """A sink that keeps what is written."""

    is_terminal = False
    is_journal = False

    def __init__(self) -> None:
        self.text = ""

    def write(self, data: bytes) -> None:
        self.text += data.decode()

    def reopen(self) -> None:
        """Nothing to open."""


def test_text_has_time_entity_event_and_fields_in_one_line() -> None:
    lines = Lines()
    EventLog("text", "worker 3", lines).warning("worker.cut", after=1.5, path="/a b", nothing=None)
    stamp, _, rest = lines.text.partition(" ")
    assert stamp.endswith("Z")
    assert rest == "worker 3     WARNING worker.cut after=1.500s path='/a b'\n"


def test_text_keeps_line_breaks_out_of_fields_and_shows_tracebacks_below() -> None:
    lines = Lines()
    EventLog("text", "supervisor", lines).error("x", cause="one\ntwo", traceback="a\n  b")
    first, second, third = lines.text.splitlines()
    assert first.endswith(r"cause='one\ntwo'")
    assert (second, third) == ("    a", "      b")


def test_json_is_one_object_a_line() -> None:
    lines = Lines()
    EventLog("json", "supervisor", lines).info("x", list=["a"], number=0.1234567891, text='"\n')
    record = json.loads(lines.text)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info", "entity": "supervisor", "event": "x", "list": ["a"], "number": 0.123457, "text": '"\n',
    }  # fmt: skip


def test_levels_below_the_logs_are_left_out() -> None:
    lines = Lines()
    log = EventLog("text", "x", lines, "warning")
    log.info("no")
    log.warning("yes")
    assert "no" not in lines.text
    assert "yes" in lines.text


def test_a_threaded_sink_never_blocks_and_says_what_it_dropped() -> None:
    reading, writing = os.pipe()
    sink = ThreadedSink(writing, limit=10)
    line = b"x" * 8191 + b"\n"
    for _ in range(100):
        sink.write(line)  # a pipe holds eight of these
    got = b""
    while b"log.dropped" not in got:
        got += os.read(reading, 1 << 16)
    sink.close()
    os.close(reading)
    os.close(writing)
    assert got.count(line) < 100


def test_a_threaded_sink_says_what_was_lost_while_the_disk_was_full(tmp_path: Path) -> None:
    full, target = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    sink = ThreadedSink(full)
    sink.write(b"lost\n")
    sink.flush(5.0)
    room = os.open(target, os.O_WRONLY | os.O_CREAT)
    os.dup2(room, full)
    sink.write(b"kept\n")
    sink.close()
    os.close(room)
    os.close(full)
    assert target.read_text() == "log.dropped lines=1 cause='the log could not be written'\nkept\n"


def test_a_file_sink_goes_on_in_the_new_file_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    sink = FileSink(str(path))
    sink.write(b"before\n")
    path.rename(tmp_path / "events.log.1")
    sink.write(b"between\n")
    sink.reopen()
    sink.write(b"after\n")
    assert (tmp_path / "events.log.1").read_text() == "before\nbetween\n"
    assert path.read_text() == "after\n"


def test_a_slot_reads_back_what_its_worker_wrote_and_is_free_when_cleared() -> None:
    descriptor = create_scoreboard_file()
    writer, reader = Scoreboard(descriptor), Scoreboard(descriptor)
    os.close(descriptor)
    for column in Column:
        writer.cells[column * CAPACITY + 5] = int(column) + 100
    reading = reader.read(5)
    assert (reading.worker, reading.pid, reading.requests, reading.cpu_ns) == (100, 101, 108, 111)
    assert reader.read(4).worker == reader.read(6).worker == 0
    reader.clear(5)
    assert writer.read(5).worker == 0
    writer.close()
    reader.close()
