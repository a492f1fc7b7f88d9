"""The peer's QPACK encoder and decoder streams, where there is no dynamic table in either direction (RFC 9204, 4.2 to 4.4)."""

from __future__ import annotations

from typing import Final

from .errors import ErrorCode, H3ConnectionError
from .events import H3Event

__all__ = ["QpackDecoderStream", "QpackEncoderStream"]

#: Set Dynamic Table Capacity to 0: the one instruction that a table of capacity 0 allows.
_CAPACITY_0: Final = b"\x20"

#: After the prefix, an integer of 62 bits takes at most nine bytes more (RFC 9204, 4.1.1).
_MAX_CONTINUATION_BYTES: Final = 9


class QpackEncoderStream:
    """Nothing may be inserted, so nothing can be duplicated, and the capacity can only be set to 0."""

    __slots__ = ()

    def receive(self, data: bytes, events: list[H3Event]) -> None:
        """Check the next instructions. Raises H3ConnectionError: QPACK_ENCODER_STREAM_ERROR."""
        if data.strip(_CAPACITY_0):
            raise H3ConnectionError(ErrorCode.QPACK_ENCODER_STREAM_ERROR, "instruction for a dynamic table of capacity 0")


class QpackDecoderStream:
    """Nothing was inserted and no section refers to the table: nothing can be acknowledged, only streams cancelled."""

    __slots__ = ("_continuation_bytes",)

    def __init__(self) -> None:
        self._continuation_bytes = 0  # of an unfinished integer; 0 between instructions

    def receive(self, data: bytes, events: list[H3Event]) -> None:
        """Check the next instructions. Raises H3ConnectionError: QPACK_DECODER_STREAM_ERROR."""
        for byte in data:
            if self._continuation_bytes:
                if byte < 0x80:
                    self._continuation_bytes = 0
                elif self._continuation_bytes == _MAX_CONTINUATION_BYTES:
                    raise H3ConnectionError(ErrorCode.QPACK_DECODER_STREAM_ERROR, "integer too large")
                else:
                    self._continuation_bytes += 1
            elif byte & 0xC0 != 0x40:
                raise H3ConnectionError(ErrorCode.QPACK_DECODER_STREAM_ERROR, "acknowledgement of something never sent")
            elif byte == 0x7F:
                self._continuation_bytes = 1
