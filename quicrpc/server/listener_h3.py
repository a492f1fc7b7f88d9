"""The HTTP/3 listener: from engine events to calls. Hop 5 of a call (docs/flow.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from quicrpc.h3.connection import H3Connection
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.events import H3Event, H3EventKind
from quicrpc.h3.qpack import FieldDecoders, FieldSection, headers_frame
from quicrpc.quic.engine import Endpoint, Event, EventKind
from quicrpc.rpc.method import has_no_side_effects
from quicrpc.security.identity import ANONYMOUS, PeerIdentity, identify
from quicrpc.server.call import SERVER_STRING, ServerCall
from quicrpc.server.options import ServerOptions
from quicrpc.transport.driver import Driver
from quicrpc.wire.compression import ACCEPT_ENCODING
from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.fields import RequestHead, http_error_fields, parse_request_head, trailers_only_fields

if TYPE_CHECKING:
    from quicrpc.server.dispatch import Dispatcher

__all__ = ["H3Listener", "ServerConnection", "peer_string"]

_LOGGER = logging.getLogger(__name__)
# Looked up once: an enum's member is an attribute behind a descriptor, and these are compared several times in every call.
_OPEN, _HANDSHAKE_DONE, _DATA, _RESET, _STOPPED, _WRITABLE, _STREAMS, _CLOSED = EventKind
_H3_HEADERS, _H3_DATA, _H3_END = H3EventKind.HEADERS, H3EventKind.DATA, H3EventKind.END
_H3_RESET, _H3_STOPPED, _H3_STREAM_ERROR = H3EventKind.RESET, H3EventKind.STOPPED, H3EventKind.STREAM_ERROR


#: Draining: how long the flush of a last response gets before the first look whether it was acknowledged.
_MIN_SETTLE_S = 0.005


def peer_string(address: tuple[object, ...]) -> str:
    """Write a socket address as gRPC does: ``ipv4:1.2.3.4:5``, ``ipv6:%5B::1%5D:5``."""
    host, port = str(address[0]), address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[len("::ffff:") :]
    if ":" in host:
        return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}"
    return f"ipv4:{host}:{port}"


class ServerConnection:
    """One client's connection.

    Attributes:
        listener, endpoint, loop: Where it belongs.
        number: The engine's number of the connection.
        calls: The calls that have not ended, by stream.
        confirmed: The handshake is complete: what comes is no replay.
    """

    __slots__ = (
        "_deferred",
        "_h3",
        "_identity",
        "_last_stream",
        "_settled",
        "calls",
        "confirmed",
        "control_stream",
        "endpoint",
        "listener",
        "loop",
        "number",
    )

    def __init__(self, listener: H3Listener, number: int) -> None:
        self.listener = listener
        self.endpoint = listener.endpoint
        self.loop = listener.loop
        self.number = number
        self.calls: dict[int, ServerCall] = {}
        self.confirmed = False
        self.control_stream: int | None = None
        self._h3 = H3Connection(
            is_client=False, max_field_section_bytes=listener.options.max_metadata_bytes, decoders=listener.decoders
        )
        self._deferred: list[ServerCall] = []
        self._identity: PeerIdentity | None = None
        self._last_stream = -4
        self._settled = False

    def wake(self) -> None:
        """Have the endpoint flushed at the end of this turn of the loop."""
        self.listener.driver.wake()

    def peer(self) -> str:
        """Return the client's address; after the connection's end "unknown"."""
        try:
            return peer_string(self.endpoint.info(self.number).peer_address)
        except KeyError:
            return "unknown"

    def identity(self) -> PeerIdentity:
        """Return who the client proved to be."""
        if self._identity is None:
            certificates = self.endpoint.peer_certificates(self.number)
            self._identity = identify(certificates[0]) if certificates else ANONYMOUS
        return self._identity

    # ---- engine events

    def open_control_streams(self) -> None:
        """Open our unidirectional streams; the peer's limit may postpone them."""
        if self.control_stream is not None:
            return
        for preface in self._h3.preface():
            stream = self.endpoint.open(self.number, False)
            if stream is None:
                return
            self.endpoint.send(self.number, stream, preface, False)
            if self.control_stream is None:
                self.control_stream = stream
                self._h3.control_stream_opened(stream)

    def handshake_done(self) -> None:
        """Run the calls that waited for proof that they are no replay."""
        self.confirmed = True
        self.open_control_streams()
        deferred, self._deferred = self._deferred, []
        for call in deferred:
            call.early = False
            if not call.finished:
                self._start_if_ready(call)

    def receive_data(self, stream: int, data: bytes, fin: bool, early: bool) -> None:
        """Take bytes of one stream."""
        try:
            events = self._h3.receive_data(stream, data, fin)
        except H3ConnectionError as error:
            self._close(error)
            return
        self._handle(events, early)

    def receive_reset(self, stream: int, code: int) -> None:
        """Take a RESET_STREAM."""
        try:
            self._handle(self._h3.receive_reset(stream, code), False)
        except H3ConnectionError as error:
            self._close(error)

    def receive_stopped(self, stream: int, code: int) -> None:
        """Take a STOP_SENDING."""
        try:
            self._handle(self._h3.receive_stop_sending(stream, code), False)
        except H3ConnectionError as error:
            self._close(error)

    def _close(self, error: H3ConnectionError) -> None:
        _LOGGER.debug("connection %d: closing, %s", self.number, error)
        self.endpoint.close(self.number, error.code, error.reason)

    def closed(self) -> None:
        """The connection is gone: every call on it is cancelled."""
        for call in list(self.calls.values()):
            call.receive_abort()
        self._deferred.clear()

    # ---- HTTP/3 events

    def _handle(self, events: Iterable[H3Event], early: bool) -> None:
        calls = self.calls
        call: ServerCall | None
        fresh: ServerCall | None = None
        for event in events:
            kind = event[0]
            try:
                if kind is _H3_HEADERS:
                    fresh = self._begin(event[1], event[2], early)
                elif kind is _H3_DATA:
                    if (call := calls.get(event[1])) is not None:
                        call.receive_body(event[2])
                elif kind is _H3_END:
                    if (call := calls.get(event[1])) is not None:
                        call.receive_end()
                        if call.task is None:
                            fresh = call
                elif kind is _H3_RESET or kind is _H3_STOPPED:
                    if (call := calls.get(event[1])) is not None:
                        call.receive_abort()
                elif kind is _H3_STREAM_ERROR:
                    self._refuse_stream(event[1], event[2])
                elif kind is H3EventKind.UNKNOWN_STREAM:
                    self.endpoint.stop_sending(self.number, event[1], ErrorCode.H3_STREAM_CREATION_ERROR)
            except RemoteProtocolError as error:
                self._fail(event[1], error)
        if fresh is not None and not fresh.finished and fresh.task is None:
            self._start_if_ready(fresh)

    def _begin(self, stream: int, section: FieldSection, early: bool) -> ServerCall | None:
        if stream > self._last_stream:
            self._last_stream = stream
        listener = self.listener
        head = section.memo
        if head is None:
            head = section.memo = parse_request_head(section.fields)
        assert isinstance(head, RequestHead)
        call = ServerCall(
            self,
            stream,
            head,
            listener.dispatcher.known_plan(head.method),
            early=early and not self.confirmed,
            max_message_bytes=listener.options.max_receive_message_bytes,
        )
        self.calls[stream] = call
        if listener.draining:
            call.cancel(ErrorCode.H3_REQUEST_REJECTED)
            return None
        if head.timeout_s is not None:
            call.deadline = self.loop.time() + head.timeout_s
            call.deadline_timer = self.loop.call_at(call.deadline, call.expire)
        return call

    def _start_if_ready(self, call: ServerCall) -> None:
        dispatcher = self.listener.dispatcher
        if not dispatcher.may_start(call):
            return
        if call.early and not self.confirmed and not has_no_side_effects(call.head.method):
            # RFC 8470, 3: a request that might be a replay waits for the handshake unless running it twice changes nothing.
            if call not in self._deferred:
                self._deferred.append(call)
            return
        dispatcher.start(call)

    def _fail(self, stream: int, error: RemoteProtocolError) -> None:
        """End one stream with the status its error calls for; the connection lives."""
        call = self.calls.get(stream)
        if call is not None:
            call.finish(error.code, error.details, None)
            if call.task is not None:
                call.task.cancel()
            return
        if error.http_status is not None:
            fields = http_error_fields(error.http_status, error.code, error.details, server=SERVER_STRING)
        else:
            # compression.md: an unknown grpc-encoding is answered with the known ones.
            fields = trailers_only_fields(error.code, error.details, server=SERVER_STRING, accept_encoding=ACCEPT_ENCODING)
        self.endpoint.send(self.number, stream, headers_frame(fields), True)
        self.endpoint.stop_sending(self.number, stream, ErrorCode.H3_NO_ERROR)
        self._h3.forget(stream)
        self.wake()

    def _refuse_stream(self, stream: int, code: int) -> None:
        """A malformed request: RFC 9114, 4.1.2, a stream error."""
        call = self.calls.get(stream)
        if call is not None:
            call.cancel(code)
            return
        self.endpoint.reset(self.number, stream, code)
        self.endpoint.stop_sending(self.number, stream, code)
        self._h3.forget(stream)
        self.wake()

    def call_finished(self, call: ServerCall) -> None:
        """Forget a call that has ended."""
        self.calls.pop(call.stream, None)
        self._h3.forget(call.stream)
        if self.listener.draining and not self.calls:
            self.close_when_delivered()

    # ---- drain

    def go_away(self) -> None:
        """Tell the client that requests above the last one seen are not processed (RFC 9114, 5.2)."""
        if self.control_stream is not None:
            self.endpoint.send(self.number, self.control_stream, self._h3.goaway(self._last_stream + 4), False)
            self.wake()

    def close_when_delivered(self) -> None:
        """Close once the last responses are acknowledged: CONNECTION_CLOSE takes what is under way with it (RFC 9000, 10.2)."""
        if self.calls or self.number not in self.listener.connections:
            return
        try:
            info = self.endpoint.info(self.number)
        except KeyError:
            return
        if self._settled and not info.bytes_in_flight:
            self.endpoint.close(self.number, ErrorCode.H3_NO_ERROR, "")
            self.wake()
            return
        self._settled = True
        self.loop.call_later(max(info.rtt_s, _MIN_SETTLE_S), self.close_when_delivered)


class H3Listener:
    """Serves the connections of one endpoint.

    Args:
        endpoint: A server endpoint; owned from here on.
        dispatcher: Runs the calls.
        options: Limits.
        loop: The event loop.
    """

    def __init__(self, endpoint: Endpoint, dispatcher: Dispatcher, options: ServerOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self.dispatcher = dispatcher
        self.options = options
        self.loop = loop
        self.draining = False
        self._empty: asyncio.Future[None] | None = None
        self.decoders = FieldDecoders(max_field_section_bytes=options.max_metadata_bytes)
        self.connections: dict[int, ServerConnection] = {}
        self.driver = Driver(endpoint, self.handle_events, loop)
        self.driver.wake()

    def handle_events(self, events: list[Event]) -> None:
        """Hand each event to its connection. A fault in one closes that one and never drops the rest of the batch."""
        connections = self.connections
        for event in events:
            kind = event[0]
            number = event[1]
            connection = connections.get(number)
            if connection is None:
                if kind == _CLOSED:
                    continue
                connection = connections[number] = ServerConnection(self, number)
            try:
                if kind == _DATA:
                    connection.receive_data(event[2], event[3], event[4], event[5])
                elif kind == _WRITABLE:
                    call = connection.calls.get(event[2])
                    if call is not None:
                        call.receive_writable()
                elif kind == _HANDSHAKE_DONE:
                    connection.handshake_done()
                elif kind == _RESET:
                    connection.receive_reset(event[2], event[3])
                elif kind == _STOPPED:
                    connection.receive_stopped(event[2], event[3])
                elif kind == _STREAMS:
                    connection.open_control_streams()
                elif kind == _CLOSED:
                    del connections[number]
                    connection.closed()
                    if self._empty is not None and not connections and not self._empty.done():
                        self._empty.set_result(None)
            except Exception:
                _LOGGER.exception("connection %d: closed after an internal error", number)
                self.endpoint.close(number, ErrorCode.H3_INTERNAL_ERROR, "")

    # ---- drain

    def start_draining(self) -> None:
        """Accept no new connection, send GOAWAY on the others, close each when its last call ends."""
        if self.draining:
            return
        self.draining = True
        self.endpoint.refuse_new_connections()
        for connection in list(self.connections.values()):
            connection.go_away()
            connection.close_when_delivered()

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the last connection is gone, at most ``timeout`` seconds. While draining."""
        if self.connections:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=timeout)

    def active_calls(self) -> list[ServerCall]:
        """Return the calls that have not ended."""
        return [call for connection in self.connections.values() for call in connection.calls.values()]

    def close(self) -> None:
        """Cancel what is left and close the socket."""
        for call in self.active_calls():
            call.cancel(ErrorCode.H3_REQUEST_CANCELLED)
        self.driver.stop()
