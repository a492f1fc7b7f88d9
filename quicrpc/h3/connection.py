"""An HTTP/3 connection: from the bytes of QUIC streams to requests and responses (RFC 9114)."""

from __future__ import annotations

from typing import Final

from .control_stream import ControlStream
from .errors import ErrorCode, H3ConnectionError, H3StreamError
from .events import H3Event, H3EventKind
from .frames import GOAWAY, SETTINGS, decode_varint, encode_frame, encode_varint
from .qpack import DEFAULT_MAX_FIELD_SECTION_BYTES, FieldDecoders
from .qpack_streams import QpackDecoderStream, QpackEncoderStream
from .request_stream import RequestStream
from .settings import MAX_FIELD_SECTION_SIZE, default_settings, encode_settings
from .whole_message import receive_whole

__all__ = ["H3Connection", "H3Event", "H3EventKind"]

# Unidirectional stream types (RFC 9114, 6.2; RFC 9204, 4.2).
_CONTROL: Final = 0x00
_PUSH: Final = 0x01
_QPACK_ENCODER: Final = 0x02
_QPACK_DECODER: Final = 0x03

#: Request streams below the highest one that have not begun. QUIC's stream limit keeps them far fewer; this bounds the memory also
#: under an engine that keeps no limit.
_MAX_UNBEGUN_STREAMS: Final = 16 * 1024


class _DiscardedStream:
    """A unidirectional stream of unknown type."""

    __slots__ = ()

    def receive(self, data: bytes, events: list[H3Event]) -> None:
        """Drop the bytes."""


class _UntypedStream:
    """A unidirectional stream whose type has not arrived whole."""

    __slots__ = ("type_bytes",)

    def __init__(self) -> None:
        self.type_bytes = b""


_CriticalStream = ControlStream | QpackEncoderStream | QpackDecoderStream
_DISCARDED: Final = _DiscardedStream()


class H3Connection:
    """Both roles. Nothing is sent from here: the owner moves bytes between this and the QUIC engine.

    The owner writes :meth:`preface`, gives every stream event of the engine to one of the ``receive_`` methods, and handles the
    events they return (:class:`~quicrpc.h3.events.H3EventKind`). A stream's state is dropped with its END, RESET or STREAM_ERROR;
    for a stream the owner aborts itself, it calls :meth:`forget`.

    Args:
        is_client: Role.
        max_field_section_bytes: Largest decoded field section that is accepted and advertised; with ``decoders``, theirs counts.
        decoders: Shared by the connections of an endpoint; None: this connection's own.

    Attributes:
        control_stream: ID of our control stream; None before :meth:`control_stream_opened`.
        peer_settings: None until they arrive.
        peer_max_field_section_bytes: Largest field section the peer accepts; None: no limit known.
    """

    __slots__ = ("_begun_below", "_critical", "_goaway_id", "_headers", "_is_client", "_max_field_section_bytes", "_peer_uni_bits",
                 "_requests", "_trailers", "_unbegun", "_unidirectional", "control_stream", "peer_max_field_section_bytes",
                 "peer_settings")  # fmt: skip

    def __init__(
        self,
        *,
        is_client: bool,
        max_field_section_bytes: int = DEFAULT_MAX_FIELD_SECTION_BYTES,
        decoders: FieldDecoders | None = None,
    ) -> None:
        if decoders is None:
            decoders = FieldDecoders(max_field_section_bytes=max_field_section_bytes)
        self._is_client = is_client
        self._max_field_section_bytes = decoders.max_field_section_bytes
        self._headers = decoders.responses if is_client else decoders.requests
        self._trailers = decoders.trailers
        self._requests: dict[int, RequestStream] = {}
        # Streams may begin out of order: a packet was lost, or a server answered a later request first. A stream below
        # _begun_below that is neither in _unbegun nor in _requests is over.
        self._begun_below = 0
        self._unbegun: set[int] = set()
        self._peer_uni_bits = 3 if is_client else 2
        self._unidirectional: dict[int, _CriticalStream | _DiscardedStream | _UntypedStream] = {}
        self._critical: dict[int, int] = {}  # stream type to stream ID, of the peer's
        self._goaway_id: int | None = None
        self.control_stream: int | None = None
        self.peer_settings: dict[int, int] | None = None
        self.peer_max_field_section_bytes: int | None = None

    # What we send

    def preface(self) -> list[bytes]:
        """Return what to write on newly opened unidirectional streams, one item each, the control stream's first.

        There is one: without a dynamic table no QPACK stream is needed (RFC 9204, 4.2). Then call :meth:`control_stream_opened`.
        """
        settings = encode_settings(default_settings(self._max_field_section_bytes))
        return [encode_varint(_CONTROL) + encode_frame(SETTINGS, settings)]

    def control_stream_opened(self, stream: int) -> None:
        """Tell which stream carries the preface."""
        self.control_stream = stream

    def goaway(self, stream_id: int) -> bytes:
        """Return a GOAWAY frame for the control stream.

        Args: stream_id: from a server, the first request stream that will not be processed; from a client, a push ID, thus 0.
        Raises: ValueError: larger than the one before, or not a request stream's.
        Source: RFC 9114, 5.2.
        """
        if stream_id & 3 and not self._is_client:
            raise ValueError("GOAWAY from a server names a request stream")
        if self._goaway_id is not None and stream_id > self._goaway_id:
            raise ValueError("GOAWAY must not increase")
        self._goaway_id = stream_id
        return encode_frame(GOAWAY, encode_varint(stream_id))

    # What we receive

    def receive_data(self, stream: int, data: bytes, fin: bool) -> list[H3Event]:
        """Take the next bytes of a stream. Raises H3ConnectionError: close the connection."""
        if stream & 3:
            return self._receive_unidirectional(stream, data, fin)
        events: list[H3Event] = []
        request = self._requests.get(stream)
        try:
            if request is None:
                if not self._begin(stream):
                    return events
                if fin:
                    if receive_whole(stream, data, self._headers, self._trailers, events):
                        return events
                    events.clear()
                request = RequestStream(stream, is_client=self._is_client, headers=self._headers, trailers=self._trailers)
                self._requests[stream] = request
            request.receive(data, fin, events)
            if fin:
                del self._requests[stream]
        except H3StreamError as error:
            self._requests.pop(stream, None)
            events.append((H3EventKind.STREAM_ERROR, stream, error.code, error.reason))
        return events

    def receive_reset(self, stream: int, code: int) -> list[H3Event]:
        """Take a RESET_STREAM. Raises H3ConnectionError: it was a critical stream."""
        if stream & 3:
            if stream in self._critical.values():
                raise H3ConnectionError(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "critical stream was reset")
            self._unidirectional.pop(stream, None)
            return []
        if self._requests.pop(stream, None) is None and not self._begin(stream):
            return []
        return [(H3EventKind.RESET, stream, code)]

    def receive_stop_sending(self, stream: int, code: int) -> list[H3Event]:
        """Take a STOP_SENDING. Raises H3ConnectionError: it was our control stream."""
        if stream == self.control_stream:
            raise H3ConnectionError(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "the peer stopped reading the control stream")
        return [(H3EventKind.STOPPED, stream, code)]

    def forget(self, stream: int) -> None:
        """Drop a request stream's state; what still arrives on it is ignored. Harmless for a stream that is over."""
        if self._requests.pop(stream, None) is None:
            self._begin(stream)

    def is_critical(self, stream: int) -> bool:
        """Return whether the connection ends with this stream: control and QPACK streams, ours and the peer's."""
        return stream == self.control_stream or stream in self._critical.values()

    def _begin(self, stream: int) -> bool:
        """Mark a stream as begun. Returns False for one that is over."""
        if stream == self._begun_below:
            self._begun_below = stream + 4
            return True
        if stream < self._begun_below:
            if stream not in self._unbegun:
                return False
            self._unbegun.remove(stream)
            return True
        skipped = range(self._begun_below, stream, 4)
        if len(self._unbegun) + len(skipped) > _MAX_UNBEGUN_STREAMS:
            raise H3ConnectionError(ErrorCode.H3_EXCESSIVE_LOAD, "too many streams skipped")
        self._unbegun.update(skipped)
        self._begun_below = stream + 4
        return True

    def _receive_unidirectional(self, stream: int, data: bytes, fin: bool) -> list[H3Event]:
        if stream & 3 != self._peer_uni_bits:
            raise H3ConnectionError(ErrorCode.H3_STREAM_CREATION_ERROR, "data on a stream that only we may open")
        events: list[H3Event] = []
        reader = self._unidirectional.get(stream)
        if reader is None:
            reader = self._unidirectional[stream] = _UntypedStream()
        if isinstance(reader, _UntypedStream):
            data = reader.type_bytes + data
            stream_type = decode_varint(data, 0)
            if stream_type is None:
                reader.type_bytes = data
            else:
                reader = self._unidirectional[stream] = self._typed_stream(stream, stream_type[0])
                data = data[stream_type[1] :]
                if reader is _DISCARDED:
                    events.append((H3EventKind.UNKNOWN_STREAM, stream))
        if not isinstance(reader, _UntypedStream):
            reader.receive(data, events)
        if fin:
            if stream in self._critical.values():
                raise H3ConnectionError(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "critical stream was closed")
            del self._unidirectional[stream]
        for event in events:
            if event[0] is H3EventKind.SETTINGS:
                self.peer_settings = event[1]
                self.peer_max_field_section_bytes = event[1].get(MAX_FIELD_SECTION_SIZE)
        return events

    def _typed_stream(self, stream: int, stream_type: int) -> _CriticalStream | _DiscardedStream:
        """Return the reader for a stream that has told its type."""
        reader: _CriticalStream
        if stream_type == _CONTROL:
            reader = ControlStream(is_client=self._is_client)
        elif stream_type == _QPACK_ENCODER:
            reader = QpackEncoderStream()
        elif stream_type == _QPACK_DECODER:
            reader = QpackDecoderStream()
        elif stream_type == _PUSH:
            # Only servers push, and a client that never sent MAX_PUSH_ID allows no push ID (RFC 9114, 4.6 and 6.2.2).
            code = ErrorCode.H3_ID_ERROR if self._is_client else ErrorCode.H3_STREAM_CREATION_ERROR
            raise H3ConnectionError(code, "push stream")
        else:
            return _DISCARDED
        if stream_type in self._critical:
            raise H3ConnectionError(ErrorCode.H3_STREAM_CREATION_ERROR, "second control or QPACK stream")
        self._critical[stream_type] = stream
        return reader
