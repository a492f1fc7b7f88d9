"""The connection: which stream is what, what is remembered, what ends."""

import pytest

from quicrpc.h3.connection import H3Connection, H3Event, H3EventKind
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.frames import DATA, SETTINGS, encode_frame, encode_varint
from quicrpc.h3.qpack import FieldDecoders, headers_frame

REQUEST = headers_frame([(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")])
MALFORMED = headers_frame([(b":method", b"POST")])
RESPONSE = headers_frame([(b":status", b"200")])
TRAILERS = headers_frame([(b"grpc-status", b"0")])
CONTENT = encode_frame(DATA, b"content")
CONTROL = b"\0" + encode_frame(SETTINGS, b"")


def server() -> H3Connection:
    return H3Connection(is_client=False)


def client() -> H3Connection:
    return H3Connection(is_client=True)


def names(events: list[H3Event]) -> list[str]:
    return [H3EventKind(event[0]).name for event in events]


# Request streams


def test_a_request_in_one_piece_and_in_three() -> None:
    connection = server()
    assert names(connection.receive_data(0, REQUEST + CONTENT, True)) == ["HEADERS", "DATA", "END"]
    assert names(connection.receive_data(4, REQUEST, False)) == ["HEADERS"]
    assert connection.receive_data(4, CONTENT, False) == [(H3EventKind.DATA, 4, b"content")]
    assert connection.receive_data(4, b"", True) == [(H3EventKind.END, 4)]


def test_a_response() -> None:
    connection = client()
    assert names(connection.receive_data(0, RESPONSE + CONTENT + TRAILERS, True)) == ["HEADERS", "DATA", "TRAILERS", "END"]


def test_the_general_machine_takes_over_a_whole_message_from_its_start() -> None:
    unusual = REQUEST + CONTENT + encode_frame(0x21, b"grease") + CONTENT
    assert names(server().receive_data(0, unusual, True)) == ["HEADERS", "DATA", "DATA", "END"]


def test_equal_blocks_give_one_section_on_all_connections_of_an_endpoint() -> None:
    decoders = FieldDecoders()
    first, second = (H3Connection(is_client=False, decoders=decoders) for _ in range(2))
    assert first.receive_data(0, REQUEST, True)[0][2] is second.receive_data(0, REQUEST, True)[0][2]


@pytest.mark.parametrize("fin", [False, True])
def test_a_stream_error_is_an_event_and_the_rest_of_the_stream_is_discarded(fin: bool) -> None:
    connection = server()
    events = connection.receive_data(0, MALFORMED, fin)
    assert [event[:3] for event in events] == [(H3EventKind.STREAM_ERROR, 0, ErrorCode.H3_MESSAGE_ERROR)]
    assert isinstance(events[0][3], str)
    assert connection.receive_data(0, CONTENT, True) == []
    assert names(connection.receive_data(4, REQUEST, True)) == ["HEADERS", "END"]


def test_a_stream_error_keeps_the_events_before_it() -> None:
    for size in (1, 1000):
        connection = server()
        data = REQUEST + CONTENT + MALFORMED
        events: list[H3Event] = []
        for start in range(0, len(data), size):
            events += connection.receive_data(0, data[start : start + size], start + size >= len(data))
        assert names(events)[0] == "HEADERS"
        assert b"".join(event[2] for event in events if event[0] is H3EventKind.DATA) == b"content"
        assert events[-1][:3] == (H3EventKind.STREAM_ERROR, 0, ErrorCode.H3_MESSAGE_ERROR)


def test_an_empty_request_is_incomplete() -> None:
    events = server().receive_data(0, b"", True)
    assert events[0][:3] == (H3EventKind.STREAM_ERROR, 0, ErrorCode.H3_REQUEST_INCOMPLETE)


def test_streams_begin_in_any_order_and_end_once() -> None:
    connection = server()
    for stream in (8, 0, 4, 12):
        assert names(connection.receive_data(stream, REQUEST, True)) == ["HEADERS", "END"]
        assert connection.receive_data(stream, REQUEST, True) == []
        assert connection.receive_reset(stream, 0x10C) == []


def test_forgotten_streams_are_ignored_whether_begun_or_not() -> None:
    connection = client()
    connection.receive_data(0, RESPONSE, False)
    connection.receive_data(8, RESPONSE, False)
    for stream in (0, 4, 12):
        connection.forget(stream)
        connection.forget(stream)
        assert connection.receive_data(stream, CONTENT, True) == []
    assert connection.receive_data(8, CONTENT, True) == [(H3EventKind.DATA, 8, b"content"), (H3EventKind.END, 8)]


def test_nothing_is_remembered_of_streams_that_are_over() -> None:
    connection = server()
    for stream in range(0, 4000, 16):
        connection.receive_data(stream + 4, REQUEST, False)
        connection.receive_data(stream, REQUEST, True)
        connection.receive_reset(stream + 4, 0)
        connection.receive_data(stream + 12, MALFORMED, False)
        connection.forget(stream + 8)
    assert not connection._requests
    assert not connection._unbegun


def test_skipped_streams_are_bounded() -> None:
    with pytest.raises(H3ConnectionError) as caught:
        server().receive_data(1 << 61, REQUEST, True)
    assert caught.value.code is ErrorCode.H3_EXCESSIVE_LOAD


def test_resets() -> None:
    connection = server()
    connection.receive_data(0, REQUEST, False)
    assert connection.receive_reset(0, 0x10C) == [(H3EventKind.RESET, 0, 0x10C)]
    assert connection.receive_reset(4, 0x10C) == [(H3EventKind.RESET, 4, 0x10C)]
    assert connection.receive_reset(4, 0x10C) == []


def test_stop_sending_is_told_even_after_the_request_is_over() -> None:
    connection = server()
    connection.receive_data(0, REQUEST, True)
    assert connection.receive_stop_sending(0, 0x10C) == [(H3EventKind.STOPPED, 0, 0x10C)]


# Our control stream


def test_preface_and_critical_control_stream() -> None:
    connection = H3Connection(is_client=False, max_field_section_bytes=100)
    assert connection.preface() == [bytes.fromhex("00 04 07 0100 064064 0700")]
    assert not connection.is_critical(3)
    connection.control_stream_opened(3)
    assert connection.is_critical(3)
    assert connection.control_stream == 3
    with pytest.raises(H3ConnectionError) as caught:
        connection.receive_stop_sending(3, 0)
    assert caught.value.code is ErrorCode.H3_CLOSED_CRITICAL_STREAM


def test_shared_decoders_tell_the_limit() -> None:
    connection = H3Connection(is_client=True, decoders=FieldDecoders(max_field_section_bytes=7))
    assert b"\x06\x07" in connection.preface()[0]


def test_goaway_never_increases() -> None:
    connection = server()
    assert connection.goaway(400) == b"\x07\x02\x41\x90"
    assert connection.goaway(400) == b"\x07\x02\x41\x90"
    assert connection.goaway(0) == b"\x07\x01\x00"
    with pytest.raises(ValueError, match="increase"):
        connection.goaway(4)


def test_goaway_of_a_server_names_a_request_stream() -> None:
    with pytest.raises(ValueError, match="request stream"):
        server().goaway(3)
    assert client().goaway(1) == b"\x07\x01\x01"


def test_two_ends_understand_each_other() -> None:
    ends = server(), client()
    for sender, receiver, stream in ((ends[0], ends[1], 3), (ends[1], ends[0], 2)):
        events = receiver.receive_data(stream, sender.preface()[0] + sender.goaway(0), False)
        assert events == [(H3EventKind.SETTINGS, {1: 0, 6: 16384, 7: 0}), (H3EventKind.GOAWAY, 0)]
        assert receiver.peer_max_field_section_bytes == 16384


# The peer's unidirectional streams


def test_settings_are_remembered() -> None:
    connection = client()
    assert connection.peer_settings is None
    for byte in b"\0" + encode_frame(SETTINGS, b"\x21\x01"):
        connection.receive_data(3, bytes([byte]), False)
    assert connection.peer_settings == {0x21: 1}
    assert connection.peer_max_field_section_bytes is None


@pytest.mark.parametrize("stream", [1, 2, 5])
def test_a_client_receives_on_requests_and_server_unidirectional_streams_only(stream: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        client().receive_data(stream, CONTROL, False)
    assert caught.value.code is ErrorCode.H3_STREAM_CREATION_ERROR


@pytest.mark.parametrize("stream", [1, 3])
def test_a_server_receives_on_requests_and_client_unidirectional_streams_only(stream: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        server().receive_data(stream, CONTROL, False)
    assert caught.value.code is ErrorCode.H3_STREAM_CREATION_ERROR


@pytest.mark.parametrize(("connection", "stream", "code"), [(server(), 2, 0x103), (client(), 3, 0x108)])
def test_push_streams(connection: H3Connection, stream: int, code: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        connection.receive_data(stream, b"\x01", False)
    assert caught.value.code == code


CRITICAL = pytest.mark.parametrize("data", [CONTROL, b"\x02", b"\x03"], ids=["control", "encoder", "decoder"])


@CRITICAL
def test_critical_streams_stay_open(data: bytes) -> None:
    connection = server()
    assert names(connection.receive_data(2, data, False)) == (["SETTINGS"] if data == CONTROL else [])
    assert connection.is_critical(2)
    with pytest.raises(H3ConnectionError) as reset:
        connection.receive_reset(2, 0)
    with pytest.raises(H3ConnectionError) as closed:
        connection.receive_data(2, b"", True)
    assert reset.value.code is closed.value.code is ErrorCode.H3_CLOSED_CRITICAL_STREAM


@CRITICAL
def test_critical_streams_are_unique(data: bytes) -> None:
    connection = server()
    connection.receive_data(2, data, False)
    with pytest.raises(H3ConnectionError) as caught:
        connection.receive_data(6, data, False)
    assert caught.value.code is ErrorCode.H3_STREAM_CREATION_ERROR


def test_qpack_streams_are_read() -> None:
    connection = server()
    assert connection.receive_data(2, b"\x02\x20", False) == []
    assert connection.receive_data(6, b"\x03\x40", False) == []
    with pytest.raises(H3ConnectionError) as caught:
        connection.receive_data(6, b"\x80", False)
    assert caught.value.code is ErrorCode.QPACK_DECODER_STREAM_ERROR


@pytest.mark.parametrize("stream_type", [0x21, 0x41, 0x54, 1 << 40])
def test_streams_of_unknown_type_are_told_once_and_discarded(stream_type: int) -> None:
    connection = server()
    type_bytes = encode_varint(stream_type)
    for byte in type_bytes[:-1]:
        assert connection.receive_data(2, bytes([byte]), False) == []
    assert connection.receive_data(2, type_bytes[-1:] + b"anything", False) == [(H3EventKind.UNKNOWN_STREAM, 2)]
    assert connection.receive_data(2, CONTENT, False) == []
    assert not connection.is_critical(2)
    assert connection.receive_data(2, b"", True) == []
    assert not connection._unidirectional


def test_streams_may_end_before_they_tell_their_type() -> None:
    connection = server()
    assert connection.receive_data(2, b"", False) == []
    assert connection.receive_data(2, b"\x40", True) == []
    assert connection.receive_data(6, b"\x40", False) == []
    assert connection.receive_reset(6, 0) == []
    assert connection.receive_reset(10, 0) == []
    assert not connection._unidirectional
