"""Error codes of HTTP/3 and QPACK, and the two ways a peer's mistake ends: with its connection, or with one stream."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ErrorCode", "H3ConnectionError", "H3StreamError"]


class ErrorCode(IntEnum):
    """Application error codes on an HTTP/3 connection (RFC 9114, 8.1; RFC 9204, 6)."""

    H3_NO_ERROR = 0x100
    H3_GENERAL_PROTOCOL_ERROR = 0x101
    H3_INTERNAL_ERROR = 0x102
    H3_STREAM_CREATION_ERROR = 0x103
    H3_CLOSED_CRITICAL_STREAM = 0x104
    H3_FRAME_UNEXPECTED = 0x105
    H3_FRAME_ERROR = 0x106
    H3_EXCESSIVE_LOAD = 0x107
    H3_ID_ERROR = 0x108
    H3_SETTINGS_ERROR = 0x109
    H3_MISSING_SETTINGS = 0x10A
    H3_REQUEST_REJECTED = 0x10B
    H3_REQUEST_CANCELLED = 0x10C
    H3_REQUEST_INCOMPLETE = 0x10D
    H3_MESSAGE_ERROR = 0x10E
    H3_CONNECT_ERROR = 0x10F
    H3_VERSION_FALLBACK = 0x110
    QPACK_DECOMPRESSION_FAILED = 0x200
    QPACK_ENCODER_STREAM_ERROR = 0x201
    QPACK_DECODER_STREAM_ERROR = 0x202


class H3ConnectionError(Exception):
    """The peer broke a rule that both sides' state depends on: close the connection with ``code``.

    Attributes:
        code: What to close with.
        reason: Names the rule; never repeats the peer's input.
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class H3StreamError(Exception):
    """One message is unusable: abort its stream in both directions with ``code``; other streams go on (RFC 9114, 4.1.2).

    Attributes:
        stream: QUIC stream ID.
        code: What to abort with.
        reason: Names the rule; never repeats the peer's input.
    """

    def __init__(self, stream: int, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name} on stream {stream}: {reason}")
        self.stream = stream
        self.code = code
        self.reason = reason
