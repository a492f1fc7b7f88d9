"""One HTTP/3 connection of a channel: a UDP socket of its own, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from quicrpc.h3.connection import H3Connection
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.events import H3Event, H3EventKind
from quicrpc.h3.qpack import FieldDecoders
from quicrpc.quic.engine import Address, Endpoint, Event, EventKind
from quicrpc.transport.driver import Driver
from quicrpc.wire.errors import RemoteProtocolError

if TYPE_CHECKING:
    from quicrpc.client.call import H3Call

__all__ = ["ClientConnection"]

_LOGGER = logging.getLogger(__name__)
# Looked up once: an enum's member is an attribute behind a descriptor, and these are compared several times in every call.
_OPEN, _HANDSHAKE_DONE, _DATA, _RESET, _STOPPED, _WRITABLE, _STREAMS, _CLOSED = EventKind
_H3_OF_CALLS = frozenset(H3EventKind) - {H3EventKind.GOAWAY, H3EventKind.SETTINGS, H3EventKind.UNKNOWN_STREAM}
_H3_HEADERS, _H3_DATA, _H3_TRAILERS, _H3_END = H3EventKind.HEADERS, H3EventKind.DATA, H3EventKind.TRAILERS, H3EventKind.END


class ClientConnection:
    """A connection to one address.

    Args:
        endpoint: A client endpoint with no connection yet; owned from here on.
        address: Where to connect to.
        server_name: What the server's certificate must carry.
        ticket: A session ticket for resumption and early data, or None.
        decoders: Decoded field sections, shared by the connections of a channel.
        max_field_section_bytes: Largest field section accepted.
        on_ready: Called once when the handshake is complete.
        on_closed: Called once when the connection is gone, with a reason.
        loop: The event loop.

    Attributes:
        early: A ticket was given and the handshake is not complete: methods without side effects may be sent.
        ready: The handshake is complete.
        draining: The server sent GOAWAY: no new calls.
        closed: Gone.
        server: The server string of the last response, as seen on the wire.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        address: Address,
        server_name: str,
        *,
        ticket: bytes | None,
        decoders: FieldDecoders,
        max_field_section_bytes: int,
        on_ready: Callable[[ClientConnection], None],
        on_closed: Callable[[ClientConnection, str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.endpoint = endpoint
        self.loop = loop
        self.ready = False
        self.draining = False
        self.closed = False
        self.server = ""
        self.early = ticket is not None
        self.calls: dict[int, H3Call] = {}
        self._h3 = H3Connection(is_client=True, max_field_section_bytes=max_field_section_bytes, decoders=decoders)
        self._on_ready = on_ready
        self._on_closed = on_closed
        self._control_stream: int | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._driver = Driver(endpoint, self._handle_events, loop)
        self.number = endpoint.connect(address, server_name, ticket)
        if self.early:
            self._open_control_stream()
        self._driver.wake()

    def wake(self) -> None:
        """Have the endpoint flushed at the end of this turn of the loop."""
        self._driver.wake()

    def receive(self) -> None:
        """Read the datagrams that wait: what a link without a descriptor calls."""
        self._driver.receive()

    # ---- streams

    def open_stream(self, call: H3Call) -> int | None:
        """Open a request stream for ``call``; None at the peer's stream limit."""
        if self._waiting:
            return None  # first come, first served
        return self._open_stream(call)

    def _open_stream(self, call: H3Call) -> int | None:
        stream = self.endpoint.open(self.number, True)
        if stream is not None:
            self.calls[stream] = call
        return stream

    async def wait_for_stream(self, call: H3Call) -> int | None:
        """Wait in line for a stream; None when the connection takes no more calls."""
        while not self.closed and not self.draining:
            turn = self.loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                else:
                    self._streams_available()  # the turn was ours already: pass it on
                raise
            stream = self._open_stream(call)
            if stream is not None:
                self._streams_available()
                return stream
        return None

    def _streams_available(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def forget(self, stream: int) -> None:
        """Drop a call that has ended."""
        self.calls.pop(stream, None)
        self._h3.forget(stream)
        if self._waiting:
            self._streams_available()
        if self.draining and not self.calls:
            self.close("drained after GOAWAY")

    # ---- engine events

    def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            kind = event[0]
            try:
                if kind == _DATA:
                    self._handle_h3(self._h3.receive_data(event[2], event[3], event[4]))
                elif kind == _WRITABLE:
                    call = self.calls.get(event[2])
                    if call is not None:
                        call.receive_writable()
                elif kind == _HANDSHAKE_DONE:
                    self.ready = True
                    self.early = False
                    self._open_control_stream()
                    self._on_ready(self)
                elif kind == _RESET:
                    self._handle_h3(self._h3.receive_reset(event[2], event[3]))
                elif kind == _STOPPED:
                    self._handle_h3(self._h3.receive_stop_sending(event[2], event[3]))
                elif kind == _STREAMS:
                    self._open_control_stream()
                    self._streams_available()
                elif kind == _CLOSED:
                    self._handle_closed(event)
            except H3ConnectionError as error:
                _LOGGER.debug("closing the connection: %s", error)
                self.endpoint.close(self.number, error.code, error.reason)
                self._closed_for(f"HTTP/3 connection error {error.code:#x}: {error.reason}")
            except Exception:
                _LOGGER.exception("closing the connection after an internal error")
                self.endpoint.close(self.number, ErrorCode.H3_INTERNAL_ERROR, "")
                self._closed_for("internal error")

    def _open_control_stream(self) -> None:
        if self._control_stream is not None:
            return
        for preface in self._h3.preface():
            stream = self.endpoint.open(self.number, False)
            if stream is None:
                return
            self.endpoint.send(self.number, stream, preface, False)
            if self._control_stream is None:
                self._control_stream = stream
                self._h3.control_stream_opened(stream)

    def _handle_h3(self, events: list[H3Event]) -> None:
        calls = self.calls
        for event in events:
            kind = event[0]
            call = calls.get(event[1]) if kind in _H3_OF_CALLS else None
            if call is None:
                if kind is H3EventKind.GOAWAY:
                    self._go_away(event[1])
                elif kind is H3EventKind.UNKNOWN_STREAM:
                    self.endpoint.stop_sending(self.number, event[1], ErrorCode.H3_STREAM_CREATION_ERROR)
                continue
            try:
                if kind is _H3_HEADERS:
                    call.receive_headers(event[2])
                elif kind is _H3_DATA:
                    call.receive_body(event[2])
                elif kind is _H3_TRAILERS:
                    call.receive_trailers(event[2])
                elif kind is _H3_END:
                    call.receive_end()
                elif kind is H3EventKind.RESET:
                    call.receive_reset(event[2])
                elif kind is H3EventKind.STOPPED:
                    call.receive_stopped(event[2])
                elif kind is H3EventKind.STREAM_ERROR:
                    call.receive_malformed(event[2], event[3])
            except RemoteProtocolError as error:
                call.fail(error.code, error.details)

    def _go_away(self, first_unprocessed: int) -> None:
        """RFC 9114, 5.2: requests from ``first_unprocessed`` on were and will not be processed."""
        self.draining = True
        for stream, call in list(self.calls.items()):
            if stream >= first_unprocessed:
                call.receive_unprocessed("the server is shutting down (GOAWAY)")
        while self._waiting:
            self._streams_available()
        self._on_closed(self, "the server is shutting down (GOAWAY)")
        if not self.calls:
            self.close("drained after GOAWAY")

    def _handle_closed(self, event: Event) -> None:
        _, _, code, reason, is_application, by_peer = event
        if is_application and code == ErrorCode.H3_NO_ERROR:
            text = "connection closed by the server" if by_peer else "connection closed"
        elif not is_application and code == 0:
            text = reason or "connection closed"
        else:
            text = f"{'HTTP/3' if is_application else 'QUIC'} error {code:#x}{': ' + reason if reason else ''}"
        self._closed_for(text)

    def _closed_for(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.ready = self.early = False
        for call in list(self.calls.values()):
            call.receive_connection_lost(reason)
        while self._waiting:
            self._streams_available()
        self._on_closed(self, reason)
        # Not from inside the driver's own callback: the endpoint may still have events of this batch to hand over.
        self.loop.call_soon(self._driver.stop)

    # ---- commands

    def close(self, reason: str) -> None:
        """Close the connection; every call on it ends with UNAVAILABLE."""
        if not self.closed:
            self.endpoint.close(self.number, ErrorCode.H3_NO_ERROR, "")
            self._closed_for(reason)
