"""Whole messages in one piece: same events as the general machine, or none of its business."""

import pytest

from quicrpc.h3.errors import H3StreamError
from quicrpc.h3.events import H3Event, H3EventKind
from quicrpc.h3.frames import DATA, HEADERS, encode_frame, encode_varint
from quicrpc.h3.qpack import FieldDecoder, FieldDecoders, headers_frame
from quicrpc.h3.request_stream import RequestStream
from quicrpc.h3.whole_message import receive_whole

REQUEST_FIELDS = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")]
REQUEST = headers_frame(REQUEST_FIELDS)
TRAILERS = headers_frame([(b"grpc-status", b"0")])
CONTENT = encode_frame(DATA, b"content")
DECODERS = FieldDecoders()


def receive(data: bytes, headers: FieldDecoder = DECODERS.requests) -> tuple[bool, list[H3Event]]:
    events: list[H3Event] = []
    return receive_whole(0, data, headers, DECODERS.trailers, events), events


def by_the_general_machine(data: bytes) -> list[H3Event]:
    events: list[H3Event] = []
    RequestStream(0, is_client=False, headers=DECODERS.requests, trailers=DECODERS.trailers).receive(data, True, events)
    return events


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        REQUEST + CONTENT,
        REQUEST + CONTENT * 3,
        REQUEST + encode_frame(DATA, b""),
        REQUEST + TRAILERS,
        REQUEST + CONTENT + TRAILERS,
        REQUEST + encode_frame(DATA, b"x" * 63),
        REQUEST + encode_frame(DATA, b"x" * 64),
        REQUEST + encode_frame(DATA, b"x" * 16_383),
        REQUEST + encode_frame(DATA, b"x" * 16_384) + TRAILERS,
        headers_frame([*REQUEST_FIELDS, (b"a", b"x" * 100)]) + CONTENT,
        headers_frame([*REQUEST_FIELDS, (b"content-length", b"7")]) + CONTENT,
    ],
)
def test_the_usual_shapes(data: bytes) -> None:
    done, events = receive(data)
    assert done
    assert events == by_the_general_machine(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01", id="half a frame header"),
        pytest.param(b"\x01\x40", id="length of two bytes cut off"),
        pytest.param(b"\x01\x80\0\0", id="length of four bytes cut off"),
        pytest.param(REQUEST + b"\0\xc0\0\0\0\0\0\0\0", id="length of eight bytes"),
        pytest.param(REQUEST[:-1], id="headers cut off"),
        pytest.param(REQUEST + CONTENT[:-1], id="content cut off"),
        pytest.param(REQUEST + b"\0", id="frame header cut off"),
        pytest.param(CONTENT, id="content first"),
        pytest.param(encode_frame(0x21, b"") + REQUEST, id="unknown frame first"),
        pytest.param(REQUEST + encode_frame(0x21, b""), id="unknown frame later"),
        pytest.param(REQUEST + TRAILERS + CONTENT, id="content after trailers"),
        pytest.param(encode_frame(HEADERS, bytes(16_385)), id="headers too large"),
        pytest.param(REQUEST + encode_frame(HEADERS, bytes(16_385)), id="trailers too large"),
        pytest.param(encode_varint(0x4000) + REQUEST, id="long frame type"),
        pytest.param(headers_frame([*REQUEST_FIELDS, (b"content-length", b"999")]) + CONTENT, id="content-length that is wrong"),
    ],
)
def test_everything_else_is_left_to_the_general_machine(data: bytes) -> None:
    assert not receive(data)[0]


def test_interim_responses_are_left_to_the_general_machine() -> None:
    assert not receive(headers_frame([(b":status", b"103")]), DECODERS.responses)[0]


def test_malformed_trailers_follow_the_events_before_them() -> None:
    events: list[H3Event] = []
    with pytest.raises(H3StreamError):
        receive_whole(0, REQUEST + CONTENT + REQUEST, DECODERS.requests, DECODERS.trailers, events)
    assert [event[0] for event in events] == [H3EventKind.HEADERS, H3EventKind.DATA]
