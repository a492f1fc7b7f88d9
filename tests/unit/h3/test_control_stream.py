"""The peer's control stream, in one piece and byte by byte."""

import pytest

from quicrpc.h3.control_stream import ControlStream
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.events import H3Event, H3EventKind
from quicrpc.h3.frames import CANCEL_PUSH, GOAWAY, MAX_PUSH_ID, SETTINGS, encode_frame, encode_varint

SETTINGS_FRAME = encode_frame(SETTINGS, b"\x06\x09")
GREASE = encode_frame(0x21, b"ignore me")

sizes = pytest.mark.parametrize("size", [1, 3, 1_000_000])


def integer_frame(kind: int, value: int) -> bytes:
    return encode_frame(kind, encode_varint(value))


def receive(data: bytes, *, size: int = 1_000_000, is_client: bool = True) -> list[H3Event]:
    stream = ControlStream(is_client=is_client)
    events: list[H3Event] = []
    for start in range(0, len(data), size):
        stream.receive(data[start : start + size], events)
    return events


def error(data: bytes, *, size: int = 1_000_000, is_client: bool = True) -> ErrorCode:
    with pytest.raises(H3ConnectionError) as caught:
        receive(data, size=size, is_client=is_client)
    return caught.value.code


@sizes
def test_settings_then_goaway_between_unknown_frames(size: int) -> None:
    data = SETTINGS_FRAME + GREASE + integer_frame(GOAWAY, 400) + GREASE + integer_frame(GOAWAY, 400) + integer_frame(GOAWAY, 0)
    assert receive(data, size=size) == [
        (H3EventKind.SETTINGS, {6: 9}),
        (H3EventKind.GOAWAY, 400),
        (H3EventKind.GOAWAY, 400),
        (H3EventKind.GOAWAY, 0),
    ]


@sizes
@pytest.mark.parametrize("frame", [GREASE, integer_frame(GOAWAY, 0), integer_frame(MAX_PUSH_ID, 0), encode_frame(0, b"x")])
def test_settings_come_first(frame: bytes, size: int) -> None:
    assert error(frame + SETTINGS_FRAME, size=size, is_client=False) is ErrorCode.H3_MISSING_SETTINGS


@sizes
@pytest.mark.parametrize("kind", [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09])
def test_frames_without_a_place_on_the_control_stream(kind: int, size: int) -> None:
    assert error(SETTINGS_FRAME + encode_frame(kind, b"\0"), size=size) is ErrorCode.H3_FRAME_UNEXPECTED


def test_settings_are_bounded_by_their_declared_length() -> None:
    assert error(encode_varint(SETTINGS) + encode_varint(1025)) is ErrorCode.H3_EXCESSIVE_LOAD
    assert receive(encode_varint(SETTINGS) + encode_varint(1024) + bytes(1023)) == []


def test_unknown_frames_of_any_length_are_not_held() -> None:
    stream = ControlStream(is_client=True)
    events: list[H3Event] = []
    stream.receive(SETTINGS_FRAME + encode_varint(0x21) + encode_varint(300_000), events)
    for _ in range(3):
        stream.receive(bytes(100_000), events)
        assert stream._pending == b""
    stream.receive(integer_frame(GOAWAY, 4), events)
    assert events[1:] == [(H3EventKind.GOAWAY, 4)]


@pytest.mark.parametrize("kind", [GOAWAY, CANCEL_PUSH, MAX_PUSH_ID])
@pytest.mark.parametrize("payload", [b"", b"\0\0", b"\x40", bytes(9)])
def test_frames_of_one_integer_have_its_length(kind: int, payload: bytes) -> None:
    assert error(SETTINGS_FRAME + encode_frame(kind, payload), is_client=False) is ErrorCode.H3_FRAME_ERROR


def test_goaway_never_increases() -> None:
    data = SETTINGS_FRAME + integer_frame(GOAWAY, 4) + integer_frame(GOAWAY, 8)
    assert error(data) is ErrorCode.H3_ID_ERROR
    assert error(data, is_client=False) is ErrorCode.H3_ID_ERROR


def test_goaway_to_a_client_names_a_request_stream() -> None:
    data = SETTINGS_FRAME + integer_frame(GOAWAY, 5)
    assert error(data) is ErrorCode.H3_ID_ERROR
    assert receive(data, is_client=False)[1:] == [(H3EventKind.GOAWAY, 5)]


def test_max_push_id_comes_from_clients_and_never_decreases() -> None:
    data = SETTINGS_FRAME + integer_frame(MAX_PUSH_ID, 7)
    assert error(data) is ErrorCode.H3_FRAME_UNEXPECTED
    assert len(receive(data + integer_frame(MAX_PUSH_ID, 7), is_client=False)) == 1
    assert error(data + integer_frame(MAX_PUSH_ID, 6), is_client=False) is ErrorCode.H3_ID_ERROR


@pytest.mark.parametrize("is_client", [False, True])
def test_no_push_can_be_cancelled(is_client: bool) -> None:
    assert error(SETTINGS_FRAME + integer_frame(CANCEL_PUSH, 0), is_client=is_client) is ErrorCode.H3_ID_ERROR
