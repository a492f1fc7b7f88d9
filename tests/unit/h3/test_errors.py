"""The code points of RFC 9114, 11.2.3 and RFC 9204, 8.3."""

from quicrpc.h3.errors import ErrorCode, H3ConnectionError, H3StreamError


def test_codes_are_the_registered_ones() -> None:
    assert [code.value for code in ErrorCode] == [*range(0x100, 0x111), 0x200, 0x201, 0x202]


def test_connection_error_carries_code_and_reason() -> None:
    error = H3ConnectionError(ErrorCode.H3_ID_ERROR, "why")
    assert (error.code, error.reason, str(error)) == (0x108, "why", "H3_ID_ERROR: why")


def test_stream_error_names_its_stream() -> None:
    error = H3StreamError(8, ErrorCode.H3_MESSAGE_ERROR, "why")
    assert (error.stream, error.code, error.reason) == (8, 0x10E, "why")
    assert str(error) == "H3_MESSAGE_ERROR on stream 8: why"
