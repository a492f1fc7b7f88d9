"""What holds for every input: cutting does not matter, round trips return, garbage raises only RemoteProtocolError."""

from __future__ import annotations

import string

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicrpc.wire.compression import codec_for, supported_encodings
from quicrpc.wire.errors import LocalProtocolError, RemoteProtocolError
from quicrpc.wire.fields import (
    parse_request_head,
    parse_response_head,
    parse_trailers,
    request_fields,
    trailer_fields,
    trailers_only_fields,
)
from quicrpc.wire.framing import MessageReader, frame_message
from quicrpc.wire.metadata import decode_metadata, encode_metadata
from quicrpc.wire.status import decode_message, encode_message
from quicrpc.wire.timeout import decode_timeout, encode_timeout

LIMIT = 40
Outcome = tuple[list[tuple[bool, bytes]], grpc.StatusCode | None]

prefixes = st.builds(lambda flag, length: bytes([flag]) + length.to_bytes(4, "big"), st.integers(0, 2), st.integers(0, LIMIT + 5))
messages = st.lists(st.tuples(st.booleans(), st.binary(max_size=LIMIT)))
streams = st.one_of(
    messages.map(lambda all_: b"".join(frame_message(payload, flag) for flag, payload in all_)),
    st.lists(st.one_of(prefixes, st.binary(max_size=LIMIT))).map(b"".join),
)

plain_keys = (
    st.text(string.ascii_lowercase + string.digits + "_.-", min_size=1)
    .map("k".__add__)
    .filter(lambda key: not key.endswith("-bin"))
)
plain_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(lambda value: value.strip(" "))
metadata = st.lists(
    st.one_of(st.tuples(plain_keys, plain_values), st.tuples(plain_keys.map(lambda key: key + "-bin"), st.binary()))
)

names = st.one_of(
    st.sampled_from(
        [
            *(b":method", b":path", b":authority", b":status", b"content-type", b"grpc-timeout", b"grpc-encoding"),
            *(b"grpc-accept-encoding", b"grpc-status", b"grpc-message", b"user-agent", b"server", b"host", b"x-bin"),
        ]
    ),
    st.binary(),
)
values = st.one_of(st.sampled_from([b"POST", b"200", b"application/grpc", b"1S", b"gzip", b"0", b"YQ,YQ=="]), st.binary())
garbage_fields = st.lists(st.tuples(names, values))


def read(pieces: list[bytes]) -> Outcome:
    reader = MessageReader(LIMIT)
    received: list[tuple[bool, bytes]] = []
    try:
        for piece in pieces:
            received += reader.receive_data(piece)
            assert reader.buffered_bytes <= LIMIT
        reader.receive_end()
    except RemoteProtocolError as error:
        return received, error.code
    return received, None


@given(streams, st.lists(st.integers(1, 12), min_size=1))
def test_cutting_a_stream_does_not_change_what_is_read(data: bytes, sizes: list[int]) -> None:
    whole = read([data])
    assert read([data[at : at + 1] for at in range(len(data))]) == whole
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read([*pieces, rest]) == whole


@given(messages)
def test_messages_round_trip(sent: list[tuple[bool, bytes]]) -> None:
    assert read([b"".join(frame_message(payload, flag) for flag, payload in sent)]) == (sent, None)


@pytest.mark.parametrize("name", supported_encodings())
@given(data=st.binary(), limit=st.one_of(st.none(), st.integers(0, 100)))
def test_codecs_return_what_was_compressed_or_refuse_its_size(name: str, data: bytes, limit: int | None) -> None:
    codec = codec_for(name)
    assert codec is not None
    compressed = codec.compress(data)
    if limit is None or len(data) <= limit:
        assert codec.decompress(compressed, limit) == data
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            codec.decompress(compressed, limit)
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("name", supported_encodings())
@given(data=st.binary(), cut=st.integers(0, 60), junk=st.binary(max_size=8), limit=st.integers(0, 100))
def test_garbage_never_gets_past_a_codec(name: str, data: bytes, cut: int, junk: bytes, limit: int) -> None:
    codec = codec_for(name)
    assert codec is not None
    compressed = codec.compress(data)
    for damaged in (junk, compressed[:cut] + junk, compressed[:cut] + junk + compressed[cut:]):
        try:
            assert len(codec.decompress(damaged, limit)) <= limit
        except RemoteProtocolError:
            pass


@given(st.floats(allow_nan=False))
def test_timeouts_are_never_longer_than_asked_and_keep_their_precision(seconds: float) -> None:
    decoded = decode_timeout(encode_timeout(seconds))
    assert 0 <= decoded <= max(seconds, 0)
    if 1e-3 <= seconds <= 99999999 * 3600:
        assert decoded >= seconds * (1 - 2e-6)


@given(st.text())
def test_garbage_timeouts(text: str) -> None:
    try:
        assert decode_timeout(text) >= 0
    except RemoteProtocolError as error:
        assert error.code is grpc.StatusCode.INTERNAL


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_status_details_round_trip(text: str) -> None:
    encoded = encode_message(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    assert decode_message(encoded) == text


@given(st.text())
def test_any_text_is_encoded_and_decoded(text: str) -> None:
    encode_message(text)
    decode_message(text)


@given(metadata)
def test_metadata_round_trip(pairs: list[tuple[str, str | bytes]]) -> None:
    assert decode_metadata(encode_metadata(pairs)) == tuple(pairs)


@given(st.lists(st.tuples(st.text(), st.one_of(st.text(), st.binary()))))
def test_what_encode_metadata_lets_pass_is_legal_in_http(pairs: list[tuple[str, str | bytes]]) -> None:
    try:
        fields = encode_metadata(pairs)
    except LocalProtocolError:
        return
    for name, value in fields:
        assert name == name.lower().strip()
        assert value == value.strip(b" ")
        assert value.decode("ascii").isprintable()


@given(garbage_fields)
def test_garbage_fields_raise_only_remote_protocol_errors(fields: list[tuple[bytes, bytes]]) -> None:
    for parse in (parse_request_head, parse_response_head, parse_trailers, decode_metadata):
        try:
            parse(fields)
        except RemoteProtocolError as error:
            assert len(error.details) < 500


@given(metadata, st.one_of(st.none(), st.floats(0, 1e6)), st.sampled_from([None, *supported_encodings()]))
def test_requests_round_trip(pairs: list[tuple[str, str | bytes]], timeout_s: float | None, encoding: str | None) -> None:
    head = parse_request_head(
        request_fields(
            method="/a.B/C",
            authority="host:1",
            timeout_s=timeout_s,
            encoding=encoding,
            accept_encoding="identity,gzip",
            user_agent="test/1",
            metadata_fields=encode_metadata(pairs),
        )
    )
    assert (head.method, head.authority, head.encoding) == ("/a.B/C", "host:1", encoding or "identity")
    assert (head.timeout_s is None) == (timeout_s is None)
    assert head.metadata == (("user-agent", "test/1"), *pairs)


@given(st.sampled_from(grpc.StatusCode), st.text(st.characters(exclude_categories=["Cs"])), metadata)
def test_trailers_round_trip(code: grpc.StatusCode, details: str, pairs: list[tuple[str, str | bytes]]) -> None:
    lines = encode_metadata(pairs)
    for fields in (trailer_fields(code, details, lines), trailers_only_fields(code, details, server="s", metadata_fields=lines)):
        status = parse_trailers(fields)
        assert status is not None
        assert (status.code, status.details, status.metadata) == (code, details, tuple(pairs))
