"""The legal order of one stream, in both roles, in one piece and byte by byte."""

from collections.abc import Iterable

import pytest

from quicrpc.h3.errors import ErrorCode, H3ConnectionError, H3StreamError
from quicrpc.h3.events import H3Event, H3EventKind
from quicrpc.h3.frames import DATA, HEADERS, data_frame_header, encode_frame, encode_varint
from quicrpc.h3.qpack import FieldDecoders, headers_frame
from quicrpc.h3.request_stream import RequestStream

REQUEST_FIELDS = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")]
REQUEST = headers_frame(REQUEST_FIELDS)
RESPONSE = headers_frame([(b":status", b"200")])
INTERIM = headers_frame([(b":status", b"103")])
TRAILERS = headers_frame([(b"grpc-status", b"0")])
CONTENT = encode_frame(DATA, b"content")
GREASE = encode_frame(0x21 + 0x1F * 7, b"ignore me")


def request_stream(*, is_client: bool = False, max_block_bytes: int = 16384) -> RequestStream:
    decoders = FieldDecoders(max_block_bytes=max_block_bytes)
    headers = decoders.responses if is_client else decoders.requests
    return RequestStream(4, is_client=is_client, headers=headers, trailers=decoders.trailers)


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def receive(data: bytes, *, size: int, is_client: bool = False, fin: bool = True, max_block_bytes: int = 16384) -> list[H3Event]:
    stream = request_stream(is_client=is_client, max_block_bytes=max_block_bytes)
    events: list[H3Event] = []
    for piece in pieces(data, size):
        stream.receive(piece, False, events)
    if fin:
        stream.receive(b"", True, events)
    return events


def kinds(events: list[H3Event]) -> list[str]:
    """Event names, with the pieces of one content counted once."""
    names = [H3EventKind(event[0]).name for event in events]
    return [name for index, name in enumerate(names) if name != "DATA" or index == 0 or names[index - 1] != "DATA"]


sizes = pytest.mark.parametrize("size", [1, 2, 3, 1_000_000])


@sizes
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (REQUEST, "HEADERS END"),
        (REQUEST + CONTENT, "HEADERS DATA END"),
        (REQUEST + CONTENT + CONTENT, "HEADERS DATA END"),
        (REQUEST + encode_frame(DATA, b""), "HEADERS END"),
        (REQUEST + TRAILERS, "HEADERS TRAILERS END"),
        (REQUEST + CONTENT + TRAILERS, "HEADERS DATA TRAILERS END"),
        (GREASE + REQUEST + GREASE + CONTENT + GREASE + TRAILERS + GREASE, "HEADERS DATA TRAILERS END"),
        (encode_frame(0x41, b"webtransport") + REQUEST, "HEADERS END"),
        (encode_frame(0x21, b"") + REQUEST, "HEADERS END"),
    ],
)
def test_requests_in_legal_order(data: bytes, expected: str, size: int) -> None:
    assert kinds(receive(data, size=size)) == expected.split()


@sizes
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (RESPONSE + CONTENT + TRAILERS, "HEADERS DATA TRAILERS END"),
        (INTERIM + INTERIM + RESPONSE, "INTERIM INTERIM HEADERS END"),
    ],
)
def test_responses_in_legal_order(data: bytes, expected: str, size: int) -> None:
    assert kinds(receive(data, size=size, is_client=True)) == expected.split()


@sizes
def test_events_carry_stream_sections_and_bytes(size: int) -> None:
    events = receive(REQUEST + CONTENT + TRAILERS, size=size)
    assert {event[1] for event in events} == {4}
    assert events[0][2].fields == tuple(REQUEST_FIELDS)
    assert b"".join(event[2] for event in events if event[0] is H3EventKind.DATA) == b"content"
    assert events[-2][2].fields == ((b"grpc-status", b"0"),)


def test_content_is_handed_on_as_it_arrives() -> None:
    stream = request_stream()
    events: list[H3Event] = []
    stream.receive(REQUEST + data_frame_header(1 << 40) + b"first", False, events)
    stream.receive(b"second", False, events)
    assert [event[2] for event in events[1:]] == [b"first", b"second"]


def test_a_piece_that_is_all_content_is_not_copied() -> None:
    stream = request_stream()
    events: list[H3Event] = []
    stream.receive(REQUEST + data_frame_header(100), False, events)
    piece = b"x" * 100
    stream.receive(piece, False, events)
    assert events[-1][2] is piece


@sizes
@pytest.mark.parametrize("kind", [0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0D])
@pytest.mark.parametrize("before", [b"", REQUEST, REQUEST + TRAILERS], ids=["first", "after headers", "after trailers"])
def test_frames_without_a_place_on_a_request_stream(kind: int, before: bytes, size: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(before + encode_frame(kind, b"\0"), size=size)
    assert caught.value.code is ErrorCode.H3_FRAME_UNEXPECTED


@sizes
@pytest.mark.parametrize("data", [CONTENT, REQUEST + TRAILERS + CONTENT, REQUEST + TRAILERS + TRAILERS])
def test_frames_out_of_order(data: bytes, size: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(data, size=size)
    assert caught.value.code is ErrorCode.H3_FRAME_UNEXPECTED


@pytest.mark.parametrize(("is_client", "code"), [(False, ErrorCode.H3_FRAME_UNEXPECTED), (True, ErrorCode.H3_ID_ERROR)])
def test_push_promise(is_client: bool, code: ErrorCode) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(encode_frame(0x05, b"\0\0\0"), size=100, is_client=is_client)
    assert caught.value.code is code


@sizes
@pytest.mark.parametrize("frame", [REQUEST, REQUEST + CONTENT, REQUEST + GREASE], ids=["HEADERS", "DATA", "unknown"])
def test_end_within_a_frame(frame: bytes, size: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(frame[:-1], size=size)
    assert caught.value.code is ErrorCode.H3_FRAME_ERROR


def test_end_within_a_frame_header() -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(REQUEST + b"\0", size=100)
    assert caught.value.code is ErrorCode.H3_FRAME_ERROR


@pytest.mark.parametrize(("data", "is_client"), [(b"", False), (GREASE, False), (b"", True), (INTERIM, True)])
def test_end_before_a_header_section(data: bytes, is_client: bool) -> None:
    with pytest.raises(H3StreamError) as caught:
        receive(data, size=100, is_client=is_client)
    assert (caught.value.stream, caught.value.code) == (4, ErrorCode.H3_REQUEST_INCOMPLETE)


def test_an_interim_response_means_nothing_in_a_request() -> None:
    with pytest.raises(H3StreamError) as caught:
        receive(INTERIM, size=100)
    assert caught.value.code is ErrorCode.H3_MESSAGE_ERROR


def test_a_headers_frame_is_refused_by_its_declared_length() -> None:
    with pytest.raises(H3StreamError) as caught:
        receive(encode_varint(HEADERS) + encode_varint(16385), size=100, fin=False)
    assert caught.value.code is ErrorCode.H3_EXCESSIVE_LOAD
    assert receive(encode_varint(HEADERS) + encode_varint(16384), size=100, fin=False) == []


def test_unknown_frames_of_any_length_are_not_held() -> None:
    stream = request_stream()
    events: list[H3Event] = []
    stream.receive(encode_varint(0x21) + encode_varint(1 << 60), False, events)
    for _ in range(100):
        stream.receive(bytes(100_000), False, events)
    assert events == []
    assert len(stream._partial_header) + len(stream._block) == 0


def test_an_empty_headers_frame_is_no_field_section() -> None:
    with pytest.raises(H3ConnectionError) as caught:
        receive(encode_frame(HEADERS, b""), size=100)
    assert caught.value.code is ErrorCode.QPACK_DECOMPRESSION_FAILED


def with_content_length(length: int, content: bytes, *, status: bytes = b"") -> bytes:
    fields = [(b":status", status)] if status else REQUEST_FIELDS
    return headers_frame([*fields, (b"content-length", b"%d" % length)]) + content


@sizes
@pytest.mark.parametrize(("length", "content"), [(7, CONTENT), (14, CONTENT + CONTENT), (0, b""), (7, CONTENT + TRAILERS)])
def test_content_of_the_announced_length(length: int, content: bytes, size: int) -> None:
    assert kinds(receive(with_content_length(length, content), size=size))[-1] == "END"


@sizes
@pytest.mark.parametrize(
    ("length", "content"), [(6, CONTENT), (8, CONTENT), (7, b""), (7, CONTENT + CONTENT), (8, CONTENT + TRAILERS)]
)
def test_content_of_another_length(length: int, content: bytes, size: int) -> None:
    with pytest.raises(H3StreamError) as caught:
        receive(with_content_length(length, content), size=size)
    assert caught.value.code is ErrorCode.H3_MESSAGE_ERROR


def test_too_much_content_is_noticed_before_it_is_handed_on() -> None:
    stream = request_stream()
    events: list[H3Event] = []
    with pytest.raises(H3StreamError):
        stream.receive(with_content_length(6, CONTENT), False, events)
    assert kinds(events) == ["HEADERS"]


def test_a_response_may_announce_content_it_does_not_carry() -> None:
    assert kinds(receive(with_content_length(7, b"", status=b"200"), size=100, is_client=True)) == ["HEADERS", "END"]
    with pytest.raises(H3StreamError):
        receive(with_content_length(8, CONTENT, status=b"200"), size=100, is_client=True)
