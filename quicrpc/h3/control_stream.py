"""The peer's control stream (RFC 9114, 6.2.1)."""

from __future__ import annotations

from typing import Final

from .errors import ErrorCode, H3ConnectionError
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
    decode_varint,
)
from .settings import MAX_SETTINGS_BYTES, decode_settings

__all__ = ["ControlStream"]

_FORBIDDEN: Final = frozenset({DATA, HEADERS, PUSH_PROMISE}) | HTTP2_FRAME_TYPES

#: Frames whose payload is one variable-length integer.
_ONE_INTEGER: Final = frozenset({CANCEL_PUSH, GOAWAY, MAX_PUSH_ID})

_MAX_VARINT_BYTES: Final = 8


class ControlStream:
    """SETTINGS first and once, then GOAWAY and the frames of server push, which is not offered here. Unknown frames are skipped.

    At most one incomplete frame of ``MAX_SETTINGS_BYTES`` is held.
    """

    __slots__ = ("_goaway_id", "_is_client", "_max_push_id", "_pending", "_settings_received", "_skip")

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self._settings_received = False
        self._goaway_id: int | None = None
        self._max_push_id = 0
        self._pending = b""
        self._skip = 0  # bytes of an unknown frame's payload that have not arrived

    def receive(self, data: bytes, events: list[H3Event]) -> None:
        """Take the next bytes after the stream type and append what they mean to ``events``. Raises H3ConnectionError."""
        data = self._pending + data
        self._pending = b""
        position = 0
        while True:
            skipped = min(self._skip, len(data) - position)
            self._skip -= skipped
            position += skipped
            header = decode_frame_header(data, position)
            if header is None:
                self._pending = data[position:]
                return
            kind, length, payload = header
            if not self._begin_frame(kind, length):
                self._skip = length
                position = payload
                continue
            if payload + length > len(data):
                self._pending = data[position:]
                return
            position = payload + length
            self._receive_frame(kind, data[payload:position], events)

    def _begin_frame(self, kind: int, length: int) -> bool:
        """Check a frame by its header alone. Returns whether its payload means anything."""
        if not self._settings_received and kind != SETTINGS:
            raise H3ConnectionError(ErrorCode.H3_MISSING_SETTINGS, "first frame of the control stream is not SETTINGS")
        if kind in _ONE_INTEGER:
            if kind == MAX_PUSH_ID and self._is_client:
                raise H3ConnectionError(ErrorCode.H3_FRAME_UNEXPECTED, "MAX_PUSH_ID from a server")
            if not 1 <= length <= _MAX_VARINT_BYTES:
                raise H3ConnectionError(ErrorCode.H3_FRAME_ERROR, "frame of one integer with another length")
            return True
        if kind == SETTINGS:
            if self._settings_received:
                raise H3ConnectionError(ErrorCode.H3_FRAME_UNEXPECTED, "second SETTINGS")
            if length > MAX_SETTINGS_BYTES:
                raise H3ConnectionError(ErrorCode.H3_EXCESSIVE_LOAD, "SETTINGS too large")
            return True
        if kind in _FORBIDDEN:
            raise H3ConnectionError(ErrorCode.H3_FRAME_UNEXPECTED, "frame that is not allowed on the control stream")
        return False

    def _receive_frame(self, kind: int, payload: bytes, events: list[H3Event]) -> None:
        if kind == SETTINGS:
            self._settings_received = True
            events.append((H3EventKind.SETTINGS, decode_settings(payload)))
            return
        integer = decode_varint(payload, 0)
        if integer is None or integer[1] != len(payload):
            raise H3ConnectionError(ErrorCode.H3_FRAME_ERROR, "frame of one integer with another length")
        value = integer[0]
        if kind == GOAWAY:
            self._receive_goaway(value)
            events.append((H3EventKind.GOAWAY, value))
        elif kind == MAX_PUSH_ID:
            if value < self._max_push_id:
                raise H3ConnectionError(ErrorCode.H3_ID_ERROR, "MAX_PUSH_ID decreased")
            self._max_push_id = value
        else:
            # A server here promises no push and a client here allows none, so no push ID can be meant (RFC 9114, 7.2.3).
            raise H3ConnectionError(ErrorCode.H3_ID_ERROR, "CANCEL_PUSH of an unknown push")

    def _receive_goaway(self, identifier: int) -> None:
        if self._is_client and identifier & 3:
            raise H3ConnectionError(ErrorCode.H3_ID_ERROR, "GOAWAY does not name a request stream")
        if self._goaway_id is not None and identifier > self._goaway_id:
            raise H3ConnectionError(ErrorCode.H3_ID_ERROR, "GOAWAY increased")
        self._goaway_id = identifier
