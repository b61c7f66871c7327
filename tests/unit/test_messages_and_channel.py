"""Messages, and the channel that carries them."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.host.channel import Channel
from fairlead.messages import MAX_MESSAGE, Drained, Failed, Fork, Imported, Serve, decode, encode


def pair() -> tuple[Channel, Channel]:
    ours, theirs = Channel.pair()
    return ours, Channel.from_descriptor(theirs.detach())


@given(st.text(), st.floats(0, 1e6), st.lists(st.text()).map(tuple))
def test_a_message_reads_back_as_it_was(app: str, seconds: float, unsafe: tuple[str, ...]) -> None:
    message = Imported(app, seconds, unsafe)
    assert decode(encode(message)) == message


def test_a_long_traceback_is_cut_to_its_end_so_that_it_fits() -> None:
    message = decode(encode(Failed("import", "cause", "x" * 200_000 + "the last line")))
    assert isinstance(message, Failed)
    assert message.traceback.endswith("the last line")
    assert len(encode(message)) <= MAX_MESSAGE


@given(st.binary())
def test_rubbish_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot read a message"):
        decode(data)


@pytest.mark.parametrize("data", [b'["Message", {}]', b'["Fork", {"worker": 1}]', b'["Fork", 7]', b'["os.system", {}]'])
def test_what_is_no_message_of_ours_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot read a message"):
        decode(data)


def test_messages_keep_their_bounds_and_order_and_bring_descriptors() -> None:
    ours, theirs = pair()
    reading, writing = os.pipe()
    assert ours.send(Fork(1, 2), (writing,))
    assert ours.send(Serve())
    message, descriptors = theirs.receive() or (None, [])
    assert message == Fork(1, 2)
    os.write(descriptors[0], b"here")
    assert os.read(reading, 10) == b"here"
    assert not os.get_inheritable(descriptors[0])
    assert theirs.receive() == (Serve(), [])
    for descriptor in (reading, writing, *descriptors):
        os.close(descriptor)
    ours.close()
    theirs.close()


def test_an_empty_channel_would_block_and_a_closed_one_is_at_its_end() -> None:
    ours, theirs = pair()
    with pytest.raises(BlockingIOError):
        theirs.receive()
    ours.close()
    assert theirs.receive() is None
    assert theirs.send(Drained()) is False
    theirs.close()


def test_a_reader_that_does_not_read_never_blocks_the_sender() -> None:
    ours, theirs = pair()
    sent = 0
    while ours.send(Serve()):
        sent += 1
    assert sent > 10
    ours.close()
    theirs.close()


def test_a_channel_is_a_seqpacket_pair() -> None:
    ours, theirs = Channel.pair()
    assert theirs.type == socket.SOCK_SEQPACKET
    ours.close()
    theirs.close()


def test_channel_is_over_when_the_other_side_is_gone_and_not_before():
    ours, theirs = Channel.pair()
    assert not ours.is_over()
    theirs.close()
    assert ours.is_over()
    ours.close()
