"""Blocks to sections and back."""

import pytest

from quicrpc.h3.errors import ErrorCode, H3ConnectionError, H3StreamError
from quicrpc.h3.fields import request_section, trailer_section
from quicrpc.h3.qpack import FieldDecoder, FieldDecoders, encode_section, headers_frame

REQUEST = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")]


def test_equal_blocks_are_decoded_once() -> None:
    decoder = FieldDecoder(request_section)
    section = decoder.decode(0, encode_section(REQUEST))
    assert section.fields == tuple(REQUEST)
    assert decoder.decode(4, encode_section(REQUEST)) is section


def test_forgotten_blocks_are_decoded_again() -> None:
    decoder = FieldDecoder(trailer_section, max_cached_sections=2)
    first = decoder.decode(0, encode_section([(b"a", b"0")]))
    for number in range(1, 5):
        decoder.decode(0, encode_section([(b"a", b"%d" % number)]))
    again = decoder.decode(0, encode_section([(b"a", b"0")]))
    assert again is not first
    assert again.fields == first.fields


def test_the_same_block_is_judged_by_where_it_stands() -> None:
    decoders = FieldDecoders()
    block = encode_section(REQUEST)
    assert decoders.requests.decode(0, block).fields == tuple(REQUEST)
    for decoder in (decoders.responses, decoders.trailers):
        with pytest.raises(H3StreamError):
            decoder.decode(0, block)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0", id="half a prefix"),
        pytest.param(b"\0\0\xff\x7f", id="static index 190"),
        pytest.param(b"\x02\0\x80", id="refers to the dynamic table"),
        pytest.param(b"\0\0\x51\x05ab", id="cut off"),
        pytest.param(b"\0\0\x27\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", id="huge integer"),
    ],
)
def test_what_is_no_qpack_ends_the_connection(block: bytes) -> None:
    decoder = FieldDecoder(request_section)
    with pytest.raises(H3ConnectionError) as caught:
        decoder.decode(0, block)
    assert caught.value.code is ErrorCode.QPACK_DECOMPRESSION_FAILED
    # Another connection of the endpoint goes on with the same decoder.
    assert decoder.decode(0, encode_section(REQUEST)).fields == tuple(REQUEST)


def test_a_block_that_requires_insertions_fails_at_once_instead_of_waiting() -> None:
    decoder = FieldDecoder(request_section)
    for insert_count in range(1, 256):
        with pytest.raises(H3ConnectionError) as caught:
            decoder.decode(0, bytes([insert_count]) + encode_section(REQUEST)[1:])
        assert caught.value.code is ErrorCode.QPACK_DECOMPRESSION_FAILED


def test_malformed_sections_are_stream_errors_and_not_remembered() -> None:
    decoder = FieldDecoder(request_section)
    block = encode_section(REQUEST[:3])
    for stream in (4, 8):
        with pytest.raises(H3StreamError) as caught:
            decoder.decode(stream, block)
        assert (caught.value.stream, caught.value.code) == (stream, ErrorCode.H3_MESSAGE_ERROR)


def test_decoded_size_is_limited() -> None:
    decoders = FieldDecoders(max_field_section_bytes=100)
    decoders.trailers.decode(0, encode_section([(b"a", b"x" * 67)]))
    with pytest.raises(H3StreamError) as caught:
        decoders.trailers.decode(0, encode_section([(b"a", b"x" * 68)]))
    assert caught.value.code is ErrorCode.H3_EXCESSIVE_LOAD


def test_a_block_of_static_references_is_judged_by_its_decoded_size() -> None:
    with pytest.raises(H3StreamError) as caught:
        FieldDecoders().trailers.decode(0, b"\0\0" + b"\xc4" * 16_000)
    assert caught.value.code is ErrorCode.H3_EXCESSIVE_LOAD


def test_headers_frame_is_encoded_once_for_equal_fields() -> None:
    fields = ((b"grpc-status", b"0"), (b"only-in", b"this test"))
    frame = headers_frame(fields)
    assert frame[0] == 1
    assert frame[1] == len(frame) - 2
    assert frame[2:] == encode_section(fields)
    assert headers_frame(list(fields)) is frame


@pytest.mark.parametrize("line", [(b"", b"x"), ("a", b"x"), (b"a", b"x" * 65_536)])
def test_what_cannot_be_encoded_is_refused(line: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"name|value"):
        headers_frame([line])
