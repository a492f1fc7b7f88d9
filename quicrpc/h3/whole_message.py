"""The common case: a whole message in one piece, read without keeping any state.

A unary call is HEADERS and DATA, or HEADERS, DATA and HEADERS, with the stream's end, in one datagram. Reading that with
:class:`~quicrpc.h3.request_stream.RequestStream` costs an object and a dozen attribute writes for nothing. This knows just that
shape, and leaves everything else, every unusual frame and every error of framing, to the general machine.
"""

from __future__ import annotations

from typing import Final

from .events import H3Event, H3EventKind
from .qpack import FieldDecoder

__all__ = ["receive_whole"]

_HEADERS_EVENT: Final = H3EventKind.HEADERS
_DATA_EVENT: Final = H3EventKind.DATA
_TRAILERS_EVENT: Final = H3EventKind.TRAILERS
_END_EVENT: Final = H3EventKind.END


def receive_whole(stream: int, data: bytes, headers: FieldDecoder, trailers: FieldDecoder, events: list[H3Event]) -> bool:
    """Append the events of a whole message.

    Args: data: all bytes of the stream.
    Returns: False when ``data`` has another shape; ``events`` may then hold some of its first events.
    Raises: H3ConnectionError, H3StreamError: from decoding a section, as the general machine does after the same events.
    """
    end = len(data)
    position = 0
    first = True
    missing: int | None = None  # of the content-length, if one was declared
    while position + 2 <= end:
        kind = data[position]
        length = data[position + 1]
        if length < 0x40:
            position += 2
        elif length < 0x80 and position + 3 <= end:
            length = (length & 0x3F) << 8 | data[position + 2]
            position += 3
        elif length < 0xC0 and position + 5 <= end:
            length = int.from_bytes(data[position + 1 : position + 5], "big") & 0x3FFFFFFF
            position += 5
        else:
            return False
        payload_end = position + length
        if payload_end > end:
            return False
        if first:
            if kind != 1 or length > headers.max_block_bytes:
                return False
            section = headers.decode(stream, data[position:payload_end])
            if section.interim:
                return False
            missing = section.content_length
            events.append((_HEADERS_EVENT, stream, section))
            first = False
        elif kind == 0:
            if missing is not None:
                missing -= length
            if length:
                events.append((_DATA_EVENT, stream, data[position:payload_end]))
        elif kind == 1 and payload_end == end and length <= trailers.max_block_bytes:
            events.append((_TRAILERS_EVENT, stream, trailers.decode(stream, data[position:payload_end])))
        else:
            return False
        position = payload_end
    if first or position != end or missing:
        return False
    events.append((_END_EVENT, stream))
    return True
