"""Variable-length integers and frame headers (RFC 9000, 16; RFC 9114, 7)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CANCEL_PUSH",
    "DATA",
    "GOAWAY",
    "HEADERS",
    "HTTP2_FRAME_TYPES",
    "MAX_PUSH_ID",
    "MAX_VARINT",
    "PUSH_PROMISE",
    "SETTINGS",
    "data_frame_header",
    "decode_frame_header",
    "decode_varint",
    "encode_frame",
    "encode_varint",
]

# Frame types (RFC 9114, 7.2). Plain ints: they are compared once per frame.
DATA: Final = 0x00
HEADERS: Final = 0x01
CANCEL_PUSH: Final = 0x03
SETTINGS: Final = 0x04
PUSH_PROMISE: Final = 0x05
GOAWAY: Final = 0x07
MAX_PUSH_ID: Final = 0x0D

#: PRIORITY, PING, WINDOW_UPDATE and CONTINUATION of HTTP/2: never legal here (RFC 9114, 7.2.8 and 11.2.1).
HTTP2_FRAME_TYPES: Final = frozenset({0x02, 0x06, 0x08, 0x09})

MAX_VARINT: Final = (1 << 62) - 1


def encode_varint(value: int) -> bytes:
    """Encode in the fewest bytes.

    Raises: ValueError: not in 0..2**62-1.
    Source: RFC 9000, 16.
    """
    if 0 <= value < 1 << 6:
        return value.to_bytes(1, "big")
    if 0 <= value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if 0 <= value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    if 0 <= value <= MAX_VARINT:
        return (value | 3 << 62).to_bytes(8, "big")
    raise ValueError(f"{value} is no variable-length integer")


def decode_varint(data: bytes, position: int) -> tuple[int, int] | None:
    """Return the integer at ``position`` and the position after it; None when ``data`` ends before it does."""
    if position >= len(data):
        return None
    first = data[position]
    size = 1 << (first >> 6)
    after = position + size
    if after > len(data):
        return None
    if size == 1:
        return first, after
    return int.from_bytes(data[position:after], "big") & ((1 << (8 * size - 2)) - 1), after


def decode_frame_header(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Return frame type, payload length in bytes and payload position; None when ``data`` ends within the frame header."""
    kind = decode_varint(data, position)
    if kind is None:
        return None
    length = decode_varint(data, kind[1])
    if length is None:
        return None
    return kind[0], length[0], length[1]


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def data_frame_header(length: int) -> bytes:
    """Return the header of a DATA frame whose payload of ``length`` bytes the caller appends."""
    return b"\x00" + encode_varint(length)
