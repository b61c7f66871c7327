"""Logs that go to systemd's journal: priorities on every line, and only there."""

import os

import pytest

from fairlead.observability.events import EventLog
from fairlead.observability.journal import leads_to_journal


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """A file that JOURNAL_STREAM names, as a descriptor."""
    descriptor = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT)
    status = os.fstat(descriptor)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    yield descriptor
    os.close(descriptor)


def test_every_line_of_an_event_has_its_priority_and_no_time_of_its_own(stream) -> None:
    log = EventLog("text", "worker 3", stream)
    log.info("worker.drained", after=0.5)
    log.error("worker.exception", traceback="one\ntwo")
    assert os.pread(stream, 4096, 0).decode() == (
        "<6>worker 3     worker.drained after=0.500s\n<3>worker 3     ERROR worker.exception\n<3>    one\n<3>    two\n"
    )


def test_json_has_the_priority_before_the_object(stream) -> None:
    EventLog("json", "supervisor", stream).warning("note", text="x")
    assert os.pread(stream, 4096, 0).startswith(b'<4>{"time": ')


def test_descriptor_that_leads_elsewhere_is_no_journal(stream, tmp_path) -> None:
    with (tmp_path / "other").open("wb") as other:
        assert not leads_to_journal(other.fileno(), os.environ)
        EventLog("text", "supervisor", other.fileno()).info("note")
    assert not (tmp_path / "other").read_bytes().startswith(b"<")
    assert leads_to_journal(stream, os.environ)
    assert not leads_to_journal(stream, {})
