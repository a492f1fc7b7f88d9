"""What HTTP/3 tells its owner."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

__all__ = ["H3Event", "H3EventKind"]


class H3EventKind(IntEnum):
    """First member of every event tuple; the rest is listed here. ``stream`` is a QUIC stream ID.

    ==================  =======================================================================================================
    ``HEADERS``         ``(HEADERS, stream, FieldSection)``: the request's, or the final response's, header section.
    ``DATA``            ``(DATA, stream, bytes)``: content, never empty, as it arrived: frame boundaries mean nothing.
    ``TRAILERS``        ``(TRAILERS, stream, FieldSection)``: the trailer section. Only END follows.
    ``END``             ``(END, stream)``: the message is complete and well-formed. The stream is forgotten.
    ``INTERIM``         ``(INTERIM, stream, FieldSection)``: an interim (1xx) response, to a client.
    ``RESET``           ``(RESET, stream, code)``: the peer aborted its message. The stream is forgotten.
    ``STOPPED``         ``(STOPPED, stream, code)``: the peer no longer reads what we send on this stream.
    ``STREAM_ERROR``    ``(STREAM_ERROR, stream, code, reason)``: malformed or too large. Abort the stream in both directions with
                        ``code``; what else arrives on it is discarded here. The stream is forgotten.
    ``SETTINGS``        ``(SETTINGS, dict)``: the peer's settings, identifier to value; once.
    ``GOAWAY``          ``(GOAWAY, id)``: to a client, requests on streams >= id are not and will not be processed.
    ``UNKNOWN_STREAM``  ``(UNKNOWN_STREAM, stream)``: a unidirectional stream of unknown type. Answer with STOP_SENDING and
                        H3_STREAM_CREATION_ERROR; what arrives on it is discarded here.
    ==================  =======================================================================================================
    """

    HEADERS = 0
    DATA = 1
    TRAILERS = 2
    END = 3
    INTERIM = 4
    RESET = 5
    STOPPED = 6
    STREAM_ERROR = 7
    SETTINGS = 8
    GOAWAY = 9
    UNKNOWN_STREAM = 10


#: A plain tuple, see :class:`H3EventKind`; tuples because several are made for every request.
H3Event = tuple[Any, ...]
