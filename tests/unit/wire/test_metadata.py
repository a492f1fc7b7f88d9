from __future__ import annotations

from typing import Any

import grpc
import pytest

from quicrpc.wire.errors import LocalProtocolError, RemoteProtocolError
from quicrpc.wire.metadata import decode_metadata, encode_metadata


@pytest.mark.parametrize("metadata", [None, (), [], iter(())])
def test_no_metadata(metadata: Any) -> None:
    assert encode_metadata(metadata) == []


def test_order_and_repeated_keys_are_kept() -> None:
    metadata = (("b", "1"), ("a.b_c-d", "2"), ("b", "3"), ("0", ""))
    fields = [(b"b", b"1"), (b"a.b_c-d", b"2"), (b"b", b"3"), (b"0", b"")]
    assert encode_metadata(iter(metadata)) == fields
    assert decode_metadata(fields) == metadata


def test_takes_the_metadata_type_of_grpc_aio() -> None:
    assert encode_metadata(grpc.aio.Metadata(("a", "1"), ("b-bin", b"\xff"))) == [(b"a", b"1"), (b"b-bin", b"/w")]


@pytest.mark.parametrize(
    ("value", "encoded"), [(b"", b""), (b"a", b"YQ"), (b"ab", b"YWI"), (b"abc", b"YWJj"), (b"\xfb\xff", b"+/8")]
)
def test_binary_values_are_base64_without_padding(value: bytes, encoded: bytes) -> None:
    assert encode_metadata([("x-bin", value)]) == [(b"x-bin", encoded)]
    assert decode_metadata([(b"x-bin", encoded)]) == (("x-bin", value),)


def test_plain_values_may_be_bytes() -> None:
    assert encode_metadata([("x", b"bytes ~")]) == [(b"x", b"bytes ~")]


def test_spaces_around_a_value_are_taken_off() -> None:
    assert encode_metadata([("x", "  a b "), ("y", " ")]) == [(b"x", b"a b"), (b"y", b"")]


@pytest.mark.parametrize("key", ["", "A", "a b", "x~", "x:y", ":path", ":foo", "é", "a\n", "a\0", b"a", 5, None, []])
def test_illegal_keys(key: Any) -> None:
    with pytest.raises(LocalProtocolError, match="metadata key"):
        encode_metadata([(key, "v")])


@pytest.mark.parametrize("value", ["\t", "é", "a\0", "a\r\nb", "\x7f", b"\x00", b"\xe9", 5, None])
def test_illegal_values(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="metadata value of 'x'"):
        encode_metadata([("x", value)])


def test_illegal_value_stays_out_of_the_error() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode_metadata([("authorization", "secret\n")])
    assert "secret" not in str(caught.value)


def test_binary_values_must_be_bytes() -> None:
    with pytest.raises(LocalProtocolError, match="must be bytes, not str"):
        encode_metadata([("x-bin", "text")])


@pytest.mark.parametrize(
    "key",
    [
        "te",
        "content-type",
        "content-length",
        "user-agent",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-internal-encoding-request",
        "grpc-status",
        "grpc-message",
    ],
)
def test_keys_of_the_transport_are_dropped(key: str) -> None:
    assert encode_metadata([(key, "x"), ("a", "b")]) == [(b"a", b"b")]


@pytest.mark.parametrize("key", ["grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "grpc-foo", "server", "date"])
def test_other_keys_pass(key: str) -> None:
    assert decode_metadata(encode_metadata([(key, "1")])) == ((key, "1"),)


@pytest.mark.parametrize("key", ["grpc-status-details-bin", "grpc-trace-bin", "grpc-tags-bin", "-bin"])
def test_other_binary_keys_pass(key: str) -> None:
    assert decode_metadata(encode_metadata([(key, b"\0\1")])) == ((key, b"\0\1"),)


def test_transport_fields_are_no_metadata_but_user_agent_is() -> None:
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", b"/a/b"),
        (b":status", b"200"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"content-length", b"5"),
        (b"host", b"a"),
        (b"user-agent", b"test"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"grpc-status", b"0"),
        (b"grpc-message", b""),
    ]
    assert decode_metadata(fields) == (("user-agent", "test"),)


def test_binary_values_are_split_at_commas_padded_or_not() -> None:
    assert decode_metadata([(b"x-bin", b"YQ==,YWI, YWJj ,,YQ=")]) == (
        ("x-bin", b"a"),
        ("x-bin", b"ab"),
        ("x-bin", b"abc"),
        ("x-bin", b""),
        ("x-bin", b"a"),
    )


@pytest.mark.parametrize("value", [b"Y", b"!!!!", b"YQ-_", b"=", b"YQ==YQ", b"YWJj,Y", b"Y Q", b"\xff\xff"])
def test_bad_base64_is_internal(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_metadata([(b"x-bin", value)])
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert "x-bin" in caught.value.details


def test_text_is_utf8_or_else_latin1() -> None:
    assert decode_metadata([(b"x", "é".encode()), (b"y", b"\xe9")]) == (("x", "é"), ("y", "é"))
