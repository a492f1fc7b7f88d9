"""Variable-length integers and frame headers."""

import pytest

from quicrpc.h3.frames import (
    MAX_VARINT,
    data_frame_header,
    decode_frame_header,
    decode_varint,
    encode_frame,
    encode_varint,
)

# RFC 9000, A.1, and the bounds of each size.
EXAMPLES = [
    ("c2197c5eff14e88c", 151_288_809_941_952_652),
    ("9d7f3e7d", 494_878_333),
    ("7bbd", 15_293),
    ("25", 37),
    ("00", 0),
    ("3f", 63),
    ("4040", 64),
    ("7fff", 16_383),
    ("80004000", 16_384),
    ("bfffffff", 2**30 - 1),
    ("c000000040000000", 2**30),
    ("ffffffffffffffff", MAX_VARINT),
]


@pytest.mark.parametrize(("encoded", "value"), EXAMPLES)
def test_varint_both_ways(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)
    assert encode_varint(value) == data
    assert decode_varint(b"\xff" + data + b"\xff", 1) == (value, 1 + len(data))


def test_a_longer_form_than_needed_is_legal() -> None:
    assert decode_varint(bytes.fromhex("4025"), 0) == (37, 2)


@pytest.mark.parametrize(("encoded", "value"), EXAMPLES)
def test_a_cut_off_varint_is_not_there_yet(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)
    assert all(decode_varint(data[:size], 0) is None for size in range(len(data)))


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_what_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="variable-length"):
        encode_varint(value)


def test_frame() -> None:
    frame = encode_frame(0x21, b"x" * 100)
    assert frame == b"\x21\x40\x64" + b"x" * 100
    assert decode_frame_header(frame, 0) == (0x21, 100, 3)


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x01", b"\x01\x40"])
def test_a_cut_off_frame_header_is_not_there_yet(data: bytes) -> None:
    assert decode_frame_header(data, 0) is None


def test_data_frame_header() -> None:
    assert data_frame_header(70_000) + b"" == encode_frame(0, bytes(70_000))[:5]
