from __future__ import annotations

import tracemalloc

import grpc
import pytest

from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.framing import MessageReader, frame_message

BAD_FLAG = b"\x02\x00\x00\x00\x00"


def test_frame_message_puts_flag_and_big_endian_length_first() -> None:
    assert frame_message(b"") == b"\x00\x00\x00\x00\x00"
    assert frame_message(b"abc") == b"\x00\x00\x00\x00\x03abc"
    assert frame_message(b"x" * 300, True) == b"\x01\x00\x00\x01\x2c" + b"x" * 300


def test_reader_returns_a_whole_message() -> None:
    reader = MessageReader(10)
    assert reader.receive_data(frame_message(b"abc")) == [(False, b"abc")]
    assert reader.receive_data(frame_message(b"", True)) == [(True, b"")]
    assert reader.buffered_bytes == 0
    reader.receive_end()


def test_reader_returns_all_messages_of_one_chunk() -> None:
    reader = MessageReader(None)
    data = frame_message(b"a") + frame_message(b"") + frame_message(b"bc", True)
    assert reader.receive_data(data) == [(False, b"a"), (False, b""), (True, b"bc")]
    reader.receive_end()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100])
def test_reader_joins_pieces_of_any_size(size: int) -> None:
    reader = MessageReader(None)
    data = frame_message(b"a" * 9) + frame_message(b"") + frame_message(b"bc", True)
    received = [message for at in range(0, len(data), size) for message in reader.receive_data(data[at : at + size])]
    assert received == [(False, b"a" * 9), (False, b""), (True, b"bc")]
    reader.receive_end()


def test_a_message_in_tiny_pieces_is_not_kept_as_single_objects() -> None:
    message = b"0123456789abcdef" * 4096
    data = frame_message(message) + frame_message(b"next")
    reader = MessageReader(None)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(0, len(message), 2):
            assert reader.receive_data(data[at : at + 2]) == []
        assert tracemalloc.get_traced_memory()[0] - before < 2 * len(message)
    finally:
        tracemalloc.stop()
    assert reader.receive_data(data[len(message) :]) == [(False, message), (False, b"next")]


def test_reader_takes_no_data() -> None:
    reader = MessageReader(None)
    assert reader.receive_data(b"") == []
    reader.receive_end()
    assert reader.receive_data(b"\0\0\0\0\x02a") == []
    assert reader.receive_data(b"") == []
    assert reader.receive_data(b"b") == [(False, b"ab")]


def test_buffered_bytes_counts_what_has_come() -> None:
    reader = MessageReader(None)
    reader.receive_data(b"\0\0\0")
    assert reader.buffered_bytes == 3
    reader.receive_data(b"\0\x04ab")
    assert reader.buffered_bytes == 2
    reader.receive_data(b"cd")
    assert reader.buffered_bytes == 0


@pytest.mark.parametrize("size", [5, 11, 16])
def test_length_is_checked_before_the_message_is_buffered(size: int) -> None:
    reader = MessageReader(10)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.receive_data(frame_message(b"x" * 11)[:size])
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details == "Received message larger than max (11 vs. 10)"
    assert reader.buffered_bytes == 0


def test_length_at_the_limit_passes() -> None:
    assert MessageReader(3).receive_data(frame_message(b"abc")) == [(False, b"abc")]
    assert MessageReader(0).receive_data(frame_message(b"")) == [(False, b"")]


def test_no_limit_takes_the_largest_length() -> None:
    reader = MessageReader(None)
    assert reader.receive_data(b"\0\xff\xff\xff\xffab") == []
    assert reader.buffered_bytes == 2


@pytest.mark.parametrize("flag", [2, 0x80, 0xD7, 0xFF])
def test_flag_other_than_0_and_1_is_internal(flag: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        MessageReader(None).receive_data(bytes([flag, 0, 0, 0, 0]))
    assert caught.value.code is grpc.StatusCode.INTERNAL


def test_flag_is_checked_in_a_split_prefix() -> None:
    reader = MessageReader(None)
    assert reader.receive_data(BAD_FLAG[:3]) == []
    with pytest.raises(RemoteProtocolError):
        reader.receive_data(BAD_FLAG[3:])
    assert reader.buffered_bytes == 0


def test_messages_before_a_violation_are_returned_first() -> None:
    reader = MessageReader(None)
    assert reader.receive_data(frame_message(b"good") + BAD_FLAG) == [(False, b"good")]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="flag"):
            reader.receive_data(frame_message(b"late"))
    with pytest.raises(RemoteProtocolError, match="flag"):
        reader.receive_end()


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\x02a"])
def test_end_inside_a_message_is_internal(data: bytes) -> None:
    reader = MessageReader(None)
    reader.receive_data(frame_message(b"whole") + data)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            reader.receive_end()
        assert caught.value.code is grpc.StatusCode.INTERNAL
