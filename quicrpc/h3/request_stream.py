"""One request stream, read incrementally: frames in their legal order, whatever pieces they arrive in (RFC 9114, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from .errors import ErrorCode, H3ConnectionError, H3StreamError
from .events import H3Event, H3EventKind
from .frames import (
    CANCEL_PUSH,
    DATA,
    GOAWAY,
    HEADERS,
    HTTP2_FRAME_TYPES,
    MAX_PUSH_ID,
    PUSH_PROMISE,
    SETTINGS,
    decode_frame_header,
)
from .qpack import FieldDecoder

__all__ = ["RequestStream"]


class _State(IntEnum):
    START = 0
    CONTENT = 1
    AFTER_TRAILERS = 2


#: The frames that a message may continue with, and where each leads. Interim responses stay in START.
_ORDER: Final[Mapping[_State, Mapping[int, _State]]] = {
    _State.START: {HEADERS: _State.CONTENT},
    _State.CONTENT: {DATA: _State.CONTENT, HEADERS: _State.AFTER_TRAILERS},
    _State.AFTER_TRAILERS: {},
}

#: Known frames that have no place on a request stream; others that are not in the table are unknown, and skipped.
_FORBIDDEN: Final = frozenset({DATA, HEADERS, CANCEL_PUSH, SETTINGS, GOAWAY, MAX_PUSH_ID}) | HTTP2_FRAME_TYPES

_HEADERS_EVENT: Final = H3EventKind.HEADERS
_DATA_EVENT: Final = H3EventKind.DATA
_TRAILERS_EVENT: Final = H3EventKind.TRAILERS
_INTERIM_EVENT: Final = H3EventKind.INTERIM
_END_EVENT: Final = H3EventKind.END


class RequestStream:
    """What the peer sends on one request stream: a request to a server, a response to a client.

    DATA is handed on as it comes, unknown frames are dropped as they come; only an unfinished frame header or HEADERS frame is
    held, the latter within the decoder's ``max_block_bytes``.
    """

    __slots__ = ("_block", "_content_bytes", "_content_length", "_headers", "_is_client", "_kind", "_partial_header", "_remaining",
                 "_state", "_stream", "_trailers")  # fmt: skip

    def __init__(self, stream: int, *, is_client: bool, headers: FieldDecoder, trailers: FieldDecoder) -> None:
        self._stream = stream
        self._is_client = is_client
        self._headers = headers
        self._trailers = trailers
        self._state = _State.START
        self._partial_header = b""
        self._kind = DATA
        self._remaining = 0  # bytes of the current frame's payload that have not arrived
        self._block = bytearray()
        self._content_length: int | None = None
        self._content_bytes = 0

    def receive(self, data: bytes, fin: bool, events: list[H3Event]) -> None:
        """Take the next bytes of the stream and append what they mean to ``events``.

        Raises:
            H3ConnectionError: A frame that is out of order, forbidden, cut off by ``fin``, or undecodable.
            H3StreamError: The message is malformed, too large or incomplete. Events before that remain valid.
        """
        if self._partial_header:
            data = self._partial_header + data
            self._partial_header = b""
        position = 0
        end = len(data)
        while position < end:
            if self._remaining == 0:
                header = decode_frame_header(data, position)
                if header is None:
                    self._partial_header = data[position:]
                    break
                self._kind, self._remaining, position = header
                self._begin_frame(self._kind, self._remaining)
            payload_end = min(position + self._remaining, end)
            self._remaining -= payload_end - position
            if self._kind == HEADERS:
                self._receive_block(data[position:payload_end], events)
            elif self._kind == DATA and payload_end > position:
                events.append((_DATA_EVENT, self._stream, data[position:payload_end]))
            position = payload_end
        if fin:
            self._finish(events)

    def _begin_frame(self, kind: int, length: int) -> None:
        """Check a frame by its header alone, before any of its payload is handled."""
        if kind not in _ORDER[self._state]:
            if kind in _FORBIDDEN:
                raise H3ConnectionError(ErrorCode.H3_FRAME_UNEXPECTED, "frame out of order on a request stream")
            if kind == PUSH_PROMISE:
                # A client that never sent MAX_PUSH_ID allows no push ID at all (RFC 9114, 7.2.5).
                code = ErrorCode.H3_ID_ERROR if self._is_client else ErrorCode.H3_FRAME_UNEXPECTED
                raise H3ConnectionError(code, "PUSH_PROMISE")
        elif kind == HEADERS:
            if length > self._headers.max_block_bytes:
                raise H3StreamError(self._stream, ErrorCode.H3_EXCESSIVE_LOAD, "HEADERS frame too large")
        else:
            self._content_bytes += length
            if self._content_length is not None and self._content_bytes > self._content_length:
                raise H3StreamError(self._stream, ErrorCode.H3_MESSAGE_ERROR, "more content than content-length")

    def _receive_block(self, piece: bytes, events: list[H3Event]) -> None:
        if self._remaining:
            self._block += piece
            return
        if self._block:
            piece = bytes(self._block + piece)
            self._block = bytearray()
        if self._state is _State.CONTENT:
            events.append((_TRAILERS_EVENT, self._stream, self._trailers.decode(self._stream, piece)))
        else:
            section = self._headers.decode(self._stream, piece)
            if section.interim:
                events.append((_INTERIM_EVENT, self._stream, section))
                return
            events.append((_HEADERS_EVENT, self._stream, section))
            self._content_length = section.content_length
        self._state = _ORDER[self._state][HEADERS]

    def _finish(self, events: list[H3Event]) -> None:
        if self._remaining or self._partial_header:
            raise H3ConnectionError(ErrorCode.H3_FRAME_ERROR, "stream ended within a frame")
        if self._state is _State.START:
            raise H3StreamError(self._stream, ErrorCode.H3_REQUEST_INCOMPLETE, "stream ended before a header section")
        # A response to HEAD announces content that it does not carry (RFC 9114, 4.1.2), and the method is not known here.
        may_lack_content = self._is_client and self._content_bytes == 0
        if self._content_length is not None and self._content_length != self._content_bytes and not may_lack_content:
            raise H3StreamError(self._stream, ErrorCode.H3_MESSAGE_ERROR, "less content than content-length")
        events.append((_END_EVENT, self._stream))
