"""The payload of a SETTINGS frame (RFC 9114, 7.2.4; RFC 9204, 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .errors import ErrorCode, H3ConnectionError
from .frames import decode_varint, encode_varint

__all__ = [
    "MAX_FIELD_SECTION_SIZE",
    "MAX_SETTINGS_BYTES",
    "QPACK_BLOCKED_STREAMS",
    "QPACK_MAX_TABLE_CAPACITY",
    "decode_settings",
    "default_settings",
    "encode_settings",
]

QPACK_MAX_TABLE_CAPACITY: Final = 0x01
MAX_FIELD_SECTION_SIZE: Final = 0x06
QPACK_BLOCKED_STREAMS: Final = 0x07

#: Settings of HTTP/2 without a counterpart: sending one is an error (RFC 9114, 7.2.4.1 and 11.2.2).
_HTTP2_SETTINGS: Final = frozenset({0x00, 0x02, 0x03, 0x04, 0x05})

#: A peer needs a few dozen bytes; the frame is buffered whole before anything else is known of the peer.
MAX_SETTINGS_BYTES: Final = 1024


def default_settings(max_field_section_bytes: int) -> dict[int, int]:
    """Return what we send. No dynamic table: equal blocks mean equal fields, and a small block cannot decode into a large one."""
    return {QPACK_MAX_TABLE_CAPACITY: 0, MAX_FIELD_SECTION_SIZE: max_field_section_bytes, QPACK_BLOCKED_STREAMS: 0}


def encode_settings(settings: Mapping[int, int]) -> bytes:
    """Return the payload. Raises ValueError for a number that is no variable-length integer."""
    return b"".join(encode_varint(identifier) + encode_varint(value) for identifier, value in settings.items())


def decode_settings(payload: bytes) -> dict[int, int]:
    """Return identifier to value, unknown ones included.

    Args: payload: at most ``MAX_SETTINGS_BYTES``, checked by the caller before it buffers.
    Raises: H3ConnectionError: H3_SETTINGS_ERROR for an identifier given twice or taken from HTTP/2, H3_FRAME_ERROR when a pair
        is cut off.
    Source: RFC 9114, 7.2.4.
    """
    settings: dict[int, int] = {}
    position = 0
    while position < len(payload):
        identifier = decode_varint(payload, position)
        value = None if identifier is None else decode_varint(payload, identifier[1])
        if identifier is None or value is None:
            raise H3ConnectionError(ErrorCode.H3_FRAME_ERROR, "SETTINGS ends within a setting")
        if identifier[0] in _HTTP2_SETTINGS:
            raise H3ConnectionError(ErrorCode.H3_SETTINGS_ERROR, "a setting of HTTP/2")
        if identifier[0] in settings:
            raise H3ConnectionError(ErrorCode.H3_SETTINGS_ERROR, "a setting was given twice")
        settings[identifier[0]], position = value
    return settings
