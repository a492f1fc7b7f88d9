"""The HTTP/3 part of h3spec 0.1.13, one named test for each of its conditions, against a server."""

import pytest

from quicrpc.h3.connection import H3Connection, H3EventKind
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.frames import CANCEL_PUSH, DATA, HEADERS, SETTINGS, encode_frame
from quicrpc.h3.qpack import headers_frame

METHOD, SCHEME, AUTHORITY, PATH = (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/")
CONTROL = b"\0" + encode_frame(SETTINGS, b"")


def connection_error(stream: int, data: bytes, *, fin: bool = False) -> ErrorCode:
    with pytest.raises(H3ConnectionError) as caught:
        H3Connection(is_client=False).receive_data(stream, data, fin)
    return caught.value.code


def stream_error(fields: list[tuple[bytes, bytes]]) -> ErrorCode:
    (event,) = H3Connection(is_client=False).receive_data(0, headers_frame(fields), True)
    assert event[:2] == (H3EventKind.STREAM_ERROR, 0)
    code: ErrorCode = event[2]
    return code


def test_frame_unexpected_if_data_before_headers() -> None:
    assert connection_error(0, encode_frame(DATA, b"x")) is ErrorCode.H3_FRAME_UNEXPECTED


def test_message_error_if_pseudo_header_is_duplicated() -> None:
    assert stream_error([METHOD, METHOD, SCHEME, AUTHORITY, PATH]) is ErrorCode.H3_MESSAGE_ERROR


@pytest.mark.parametrize("missing", [METHOD, SCHEME, PATH])
def test_message_error_if_mandatory_pseudo_header_is_absent(missing: tuple[bytes, bytes]) -> None:
    fields = [field for field in (METHOD, SCHEME, AUTHORITY, PATH) if field != missing]
    assert stream_error(fields) is ErrorCode.H3_MESSAGE_ERROR


def test_message_error_if_prohibited_pseudo_header_is_present() -> None:
    assert stream_error([METHOD, SCHEME, AUTHORITY, PATH, (b":foo", b"x")]) is ErrorCode.H3_MESSAGE_ERROR


def test_message_error_if_pseudo_header_follows_fields() -> None:
    assert stream_error([METHOD, SCHEME, AUTHORITY, (b"foo", b"x"), PATH]) is ErrorCode.H3_MESSAGE_ERROR


def test_missing_settings_if_first_control_frame_is_not_settings() -> None:
    assert connection_error(2, b"\0" + encode_frame(0x07, b"\0")) is ErrorCode.H3_MISSING_SETTINGS


def test_frame_unexpected_if_data_on_control_stream() -> None:
    assert connection_error(2, CONTROL + encode_frame(DATA, b"x")) is ErrorCode.H3_FRAME_UNEXPECTED


def test_frame_unexpected_if_headers_on_control_stream() -> None:
    assert connection_error(2, CONTROL + encode_frame(HEADERS, b"x")) is ErrorCode.H3_FRAME_UNEXPECTED


def test_frame_unexpected_if_second_settings() -> None:
    assert connection_error(2, CONTROL + encode_frame(SETTINGS, b"")) is ErrorCode.H3_FRAME_UNEXPECTED


def test_settings_error_if_identifier_is_duplicated() -> None:
    assert connection_error(2, b"\0" + encode_frame(SETTINGS, b"\x06\x09\x06\x09")) is ErrorCode.H3_SETTINGS_ERROR


def test_settings_error_if_http2_setting() -> None:
    assert connection_error(2, b"\0" + encode_frame(SETTINGS, b"\x02\x00")) is ErrorCode.H3_SETTINGS_ERROR


def test_frame_unexpected_if_cancel_push_on_request_stream() -> None:
    assert connection_error(0, encode_frame(CANCEL_PUSH, b"\0")) is ErrorCode.H3_FRAME_UNEXPECTED


def test_qpack_decompression_failed_if_static_index_is_invalid() -> None:
    assert connection_error(0, encode_frame(HEADERS, b"\0\0\xff\x7f"), fin=True) is ErrorCode.QPACK_DECOMPRESSION_FAILED


def test_qpack_encoder_stream_error_if_capacity_exceeds_the_limit() -> None:
    assert connection_error(2, b"\x02\x3f\xff\xff\x7f") is ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_closed_critical_stream_if_control_stream_is_closed() -> None:
    assert connection_error(2, CONTROL, fin=True) is ErrorCode.H3_CLOSED_CRITICAL_STREAM


def test_qpack_decoder_stream_error_if_insert_count_increment_is_0() -> None:
    assert connection_error(2, b"\x03\x00") is ErrorCode.QPACK_DECODER_STREAM_ERROR
