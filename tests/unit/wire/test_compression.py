from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib

import grpc
import pytest
import zstandard

from quicrpc.wire import compression
from quicrpc.wire.compression import ACCEPT_ENCODING, Codec, codec_for, compression_name, supported_encodings
from quicrpc.wire.errors import LocalProtocolError, RemoteProtocolError

MESSAGE = bytes(range(256)) * 40
COMPRESSING = ["deflate", "gzip", "zstd"]


def codec(name: str) -> Codec:
    found = codec_for(name)
    assert found is not None
    return found


def zstd_without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def test_names() -> None:
    assert supported_encodings() == ("identity", "deflate", "gzip", "zstd")
    assert ACCEPT_ENCODING == "identity,deflate,gzip,zstd"
    assert [codec(name).name for name in supported_encodings()] == list(supported_encodings())
    assert codec_for("snappy") is None


def test_zstd_is_left_out_when_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert list(compression._installed_codecs()) == ["identity", "deflate", "gzip"]


@pytest.mark.parametrize("name", ["identity", *COMPRESSING])
@pytest.mark.parametrize("message", [b"", b"a", MESSAGE])
@pytest.mark.parametrize("spare", [None, 0, 1])
def test_round_trip_up_to_the_limit(name: str, message: bytes, spare: int | None) -> None:
    limit = None if spare is None else len(message) + spare
    assert codec(name).decompress(codec(name).compress(message), limit) == message


@pytest.mark.parametrize("name", ["identity", *COMPRESSING])
def test_one_byte_over_the_limit(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="Received message larger than max") as caught:
        codec(name).decompress(codec(name).compress(MESSAGE), len(MESSAGE) - 1)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_formats_are_those_of_the_standard_tools() -> None:
    assert gzip.decompress(codec("gzip").compress(MESSAGE)) == MESSAGE
    assert zlib.decompress(codec("deflate").compress(MESSAGE)) == MESSAGE
    assert zstandard.decompress(codec("zstd").compress(MESSAGE)) == MESSAGE


@pytest.mark.parametrize("name", COMPRESSING)
@pytest.mark.parametrize("limit", [None, 10 * len(MESSAGE)])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "trailing", "second member"])
def test_damage_is_internal(name: str, limit: int | None, damage: str) -> None:
    good = codec(name).compress(MESSAGE)
    data = {
        "empty": b"",
        "garbage": b"this is no compressed message",
        "truncated": good[:-1],
        "trailing": good + b"\0",
        "second member": good + good,
    }[damage]
    with pytest.raises(RemoteProtocolError) as caught:
        codec(name).decompress(data, limit)
    assert caught.value.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("name", ["deflate", "gzip"])
def test_wrong_check_value_is_internal(name: str) -> None:
    good = codec(name).compress(MESSAGE)
    with pytest.raises(RemoteProtocolError) as caught:
        codec(name).decompress(good[:-1] + bytes([good[-1] ^ 0xFF]), None)
    assert caught.value.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("name", COMPRESSING)
def test_bomb_is_refused_without_inflating_it(name: str) -> None:
    bomb = codec(name).compress(bytes(16 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError) as caught:
            codec(name).decompress(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_zstd_frame_without_a_size() -> None:
    frame = zstd_without_size(MESSAGE)
    assert codec("zstd").decompress(frame, len(MESSAGE)) == MESSAGE
    with pytest.raises(RemoteProtocolError, match="larger than max"):
        codec("zstd").decompress(frame, len(MESSAGE) - 1)
    for damaged in (frame[:-1], frame + b"\0", frame + frame):
        with pytest.raises(RemoteProtocolError) as caught:
            codec("zstd").decompress(damaged, len(MESSAGE))
        assert caught.value.code is grpc.StatusCode.INTERNAL


def test_zstd_window_is_bounded() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = frame.compress(MESSAGE) + frame.flush()
    with pytest.raises(RemoteProtocolError) as caught:
        codec("zstd").decompress(data, None)
    assert caught.value.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        (None, None),
        (grpc.Compression.NoCompression, "identity"),
        (grpc.Compression.Deflate, "deflate"),
        (grpc.Compression.Gzip, "gzip"),
        ("zstd", "zstd"),
    ],
)
def test_compression_name(argument: grpc.Compression | str | None, name: str | None) -> None:
    assert compression_name(argument) == name


def test_compression_name_refuses_unknown_names() -> None:
    with pytest.raises(LocalProtocolError, match="snappy"):
        compression_name("snappy")
