"""One call over HTTP/3, seen from the client: the core call under grpc.aio's call objects.

Exactly one status ends every call, whichever comes first: the server's trailers, a reset, the deadline, a cancellation, a broken
rule, or the loss of the connection.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from quicrpc.client.call_credentials import CallCredentialsError, call_credentials_metadata
from quicrpc.client.grpcio import EOF, InternalError, RpcStatus
from quicrpc.h3.errors import ErrorCode
from quicrpc.h3.frames import data_frame_header
from quicrpc.h3.qpack import FieldSection, headers_frame
from quicrpc.rpc.metadata import Entry, checked_metadata, take_compression
from quicrpc.wire.compression import ACCEPT_ENCODING, Codec, codec_for
from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.fields import ResponseHead, TrailingStatus, parse_response_head, parse_trailers, request_fields
from quicrpc.wire.framing import MessageReader, frame_message
from quicrpc.wire.metadata import encode_metadata
from quicrpc.wire.status import STATUS_NUMBERS, status_from_h3_error, status_from_http

if TYPE_CHECKING:
    from quicrpc.client.connection import ClientConnection
    from quicrpc.client.subchannel import Subchannel

__all__ = ["H3Call"]

#: A response stream whose reader has this much unread is paused: the server then stops at its flow-control window.
_PAUSE_QUEUED_BYTES = 64 * 1024
_COARSE_TIMEOUT_S = 0.1
#: How much earlier than ours the server's timer for the same deadline may fire.
_DEADLINE_TOLERANCE_S = 0.005
_CANCELLED = ErrorCode.H3_REQUEST_CANCELLED


class H3Call:
    """State of one call.

    Args:
        subchannel: Where a connection comes from.
        path: ``/package.Service/Method``.
        deadline: Wall-clock seconds (as grpc.aio gives it), or None.
        plugins: Metadata plugins of the channel's and the call's credentials.
        wait_for_ready: Wait through failures to connect.
        serialize, deserialize: Message <-> bytes; None: bytes as they are.

    Attributes:
        compressed_responses: Response messages that came compressed.
    """

    transport = "h3"

    __slots__ = (
        "__weakref__",
        "_codec",
        "_compress_next",
        "_connection",
        "_deadline",
        "_deadline_timer",
        "_deserialize",
        "_done_callbacks",
        "_half_closed",
        "_head",
        "_headers_waiters",
        "_initial_metadata",
        "_locally_cancelled",
        "_messages",
        "_path",
        "_paused",
        "_plugins",
        "_queued_bytes",
        "_read_waiter",
        "_reader",
        "_response_codec",
        "_response_ended",
        "_serialize",
        "_server_status",
        "_single_response",
        "_starting",
        "_status",
        "_status_waiters",
        "_stream",
        "_subchannel",
        "_wait_for_ready",
        "_writable",
        "compressed_responses",
    )

    def __init__(
        self,
        subchannel: Subchannel,
        path: str,
        deadline: float | None,
        plugins: list[Any],
        wait_for_ready: bool,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
    ) -> None:
        self._subchannel = subchannel
        self._path = path
        self._deadline = deadline
        self._plugins = plugins
        self._wait_for_ready = wait_for_ready
        self._serialize = serialize
        self._deserialize = deserialize
        self._connection: ClientConnection | None = None
        self._stream = -1
        self._codec: Codec | None = None
        self._compress_next = True
        self.compressed_responses = 0
        self._reader = MessageReader(subchannel.options.max_receive_message_bytes)
        self._response_codec: Codec | None = None
        self._messages: deque[bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._single_response = False
        self._half_closed = False
        self._response_ended = False
        self._head: ResponseHead | None = None
        self._server_status: TrailingStatus | None = None
        self._initial_metadata: tuple[Entry, ...] | None = None
        self._status: Any = None
        self._locally_cancelled = False
        self._starting: asyncio.Task[Any] | None = None
        self._read_waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._headers_waiters: list[asyncio.Future[None]] = []
        self._status_waiters: list[asyncio.Future[None]] = []
        self._done_callbacks: list[Callable[[], None]] = []
        self._deadline_timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            loop = subchannel.loop
            self._deadline_timer = loop.call_at(loop.time() + max(deadline - time.time(), 0.0), self._expire)

    # ---- what grpc.aio's call objects ask

    def done(self) -> bool:
        """Tell whether the call has a status."""
        return self._status is not None

    def cancelled(self) -> bool:
        """Tell whether the status is CANCELLED."""
        return self._status is not None and self._status.code() == 1

    def is_ok(self) -> bool:
        """Tell whether the status is OK."""
        return self._status is not None and self._status.code() == 0

    def is_locally_cancelled(self) -> bool:
        """Tell whether the application cancelled the call."""
        return self._locally_cancelled

    def time_remaining(self) -> float | None:
        """Return the seconds left, never negative; None without a deadline."""
        return None if self._deadline is None else max(self._deadline - time.time(), 0.0)

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the call has a status; at once if it has."""
        if self._status is not None:
            callback()
        else:
            self._done_callbacks.append(callback)

    def cancel(self, details: str) -> None:
        """End the call as the application's own cancellation."""
        if self._status is None:
            self._locally_cancelled = True
            self._messages.clear()
            self._abandon(grpc.StatusCode.CANCELLED, details)

    def set_internal_error(self, error: str) -> None:
        """End the call with INTERNAL unless it has ended."""
        self._abandon(grpc.StatusCode.INTERNAL, error)

    async def initial_metadata(self) -> tuple[Entry, ...]:
        """Wait for the response's header section, or the end; returns its metadata."""
        while self._initial_metadata is None and self._status is None:
            await self._wait_in(self._headers_waiters)
        return self._initial_metadata or ()

    async def status(self) -> Any:
        """Wait for the end; returns the status."""
        while self._status is None:
            await self._wait_in(self._status_waiters)
        return self._status

    async def _wait_in(self, waiters: list[asyncio.Future[None]]) -> None:
        waiter = self._subchannel.loop.create_future()
        waiters.append(waiter)
        await waiter

    async def unary_unary(self, request: Any, metadata: tuple[Entry, ...], context: Any = None) -> Any:
        """Send one message and return the one response; None if the status is not OK."""
        self._single_response = True
        payload = self._serialized(request)
        if payload is not None and await self._start(metadata, payload):
            await self.status()
        return self._single()

    async def initiate_unary_stream(self, request: Any, metadata: tuple[Entry, ...], context: Any = None) -> None:
        """Send one message; returns when the response has begun."""
        payload = self._serialized(request)
        if payload is not None and await self._start(metadata, payload):
            await self.initial_metadata()

    async def stream_unary(
        self, metadata: tuple[Entry, ...], metadata_sent_observer: Callable[[], None], context: Any = None
    ) -> Any:
        """Begin a call with a stream of requests and return its one response; None if the status is not OK."""
        self._single_response = True
        started = await self._start(metadata, None)
        metadata_sent_observer()
        if started:
            await self.status()
        return self._single()

    async def initiate_stream_stream(
        self, metadata: tuple[Entry, ...], metadata_sent_observer: Callable[[], None], context: Any = None
    ) -> None:
        """Begin a call with streams both ways; returns when the response has begun."""
        started = await self._start(metadata, None)
        metadata_sent_observer()
        if started:
            await self.initial_metadata()

    async def send_serialized_message(self, message: Any) -> None:
        """Send one message; returns when the stream is below its watermark.

        Raises:
            InternalError: the call has ended.
        """
        payload = self._serialized(message)
        if payload is None or self._status is not None or self._connection is None:
            raise InternalError("the call has ended")
        if not self._send(self._message(payload), False):
            self._writable = self._subchannel.loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    async def send_receive_close(self) -> None:
        """Half-close; before the call has begun this takes effect when it begins."""
        if self._status is None and not self._half_closed:
            self._half_closed = True
            if self._connection is not None:
                self._send(b"", True)

    async def receive_serialized_message(self) -> Any:
        """Return the next response; EOF after the last one, or when the call fails."""
        while not self._messages:
            if self._status is not None:
                return EOF
            self._read_waiter = self._subchannel.loop.create_future()
            try:
                await self._read_waiter
            finally:
                self._read_waiter = None
        message = self._messages.popleft()
        self._queued_bytes -= len(message)
        if self._paused and self._queued_bytes < _PAUSE_QUEUED_BYTES and self._connection is not None:
            self._paused = False
            self._connection.endpoint.resume(self._connection.number, self._stream)
            self._connection.wake()
        if self._response_ended and not self._messages:
            self._complete()
        return self._deserialized(message)

    def disable_next_message_compression(self) -> None:
        """Send the next request as it is. Not in grpc.aio, whose core has it as a flag of the write."""
        self._compress_next = False

    # ---- messages

    def _serialized(self, message: Any) -> bytes | None:
        """Turn a request into bytes; None when the call has failed for it."""
        try:
            payload = message if self._serialize is None else self._serialize(message)
        except Exception as error:
            self._abandon(grpc.StatusCode.INTERNAL, f"Exception serializing request: {type(error).__name__}: {error}")
            return None
        if not isinstance(payload, bytes):
            self._abandon(grpc.StatusCode.INTERNAL, f"the request serializer returned {type(payload).__name__}, not bytes")
            return None
        limit = self._subchannel.options.max_send_message_bytes
        if limit is not None and len(payload) > limit:
            self._abandon(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Sent message larger than max ({len(payload)} vs. {limit})")
            return None
        return payload

    def _deserialized(self, message: bytes) -> Any:
        if self._deserialize is None:
            return message
        try:
            return self._deserialize(message)
        except Exception as error:
            self._replace_status(grpc.StatusCode.INTERNAL, f"Exception deserializing response: {type(error).__name__}: {error}")
            return EOF

    def _single(self) -> Any:
        if self._status is None or self._status.code() != 0:
            return None
        return self._deserialized(self._messages.popleft())

    def _message(self, payload: bytes) -> bytes:
        if self._codec is None or not self._compress_next:
            self._compress_next = True
            framed = frame_message(payload)
        else:
            framed = frame_message(self._codec.compress(payload), True)
        return data_frame_header(len(framed)) + framed

    def _send(self, data: bytes, fin: bool) -> bool:
        connection = self._connection
        assert connection is not None
        written = connection.endpoint.send(connection.number, self._stream, data, fin)
        connection.wake()
        return written

    # ---- the start of a call

    async def _start(self, metadata: tuple[Entry, ...], payload: bytes | None) -> bool:
        """Send the header section, and with ``payload`` the whole request. Returns False when the call ended before.

        Raises:
            TypeError, ValueError: metadata that grpcio refuses too.
        """
        compression, entries = take_compression(metadata) if metadata else (None, ())
        entries = checked_metadata(entries) if entries else ()
        if self._status is not None:
            return False
        subchannel = self._subchannel
        stream: int | None = None
        connection = subchannel.usable_connection(self._path)
        if connection is not None and not self._plugins:
            stream = connection.open_stream(self)
        if stream is None:
            # From here on the end of the call must be able to interrupt the wait.
            self._starting = asyncio.current_task()
            try:
                if self._plugins:
                    entries += tuple(await call_credentials_metadata(self._plugins, subchannel.authority, self._path))
                while stream is None and self._status is None:
                    connection = await subchannel.connection_for(self)
                    if connection is None:
                        return False
                    stream = connection.open_stream(self)
                    if stream is None:
                        stream = await connection.wait_for_stream(self)
            except CallCredentialsError as error:
                self._abandon(error.code, error.details)
                return False
            except asyncio.CancelledError:
                if self._status is not None and not self._locally_cancelled:
                    return False  # the deadline interrupted the wait
                raise
            finally:
                self._starting = None
            if stream is None or connection is None:
                return False
        assert connection is not None
        self._connection = connection
        self._stream = stream
        self._begin(entries, compression or subchannel.compression, payload)
        return True

    @property
    def path(self) -> str:
        """The method called."""
        return self._path

    @property
    def wait_for_ready(self) -> bool:
        """Whether to wait through failures to connect."""
        return self._wait_for_ready

    def _begin(self, entries: tuple[Entry, ...], encoding: str | None, payload: bytes | None) -> None:
        subchannel = self._subchannel
        if encoding is not None and encoding != "identity":
            self._codec = codec_for(encoding)
        if not entries and self._deadline is None and self._codec is None:
            head = subchannel.constant_head(self._path)
        else:
            fields = request_fields(
                method=self._path,
                authority=subchannel.authority,
                timeout_s=self._timeout_to_send(),
                encoding=None if self._codec is None else self._codec.name,
                accept_encoding=ACCEPT_ENCODING,
                user_agent=subchannel.user_agent,
                metadata_fields=encode_metadata(entries),
            )
            head = headers_frame(fields)
        if payload is None:
            self._send(head, self._half_closed)
        else:
            self._half_closed = True
            self._send(head + self._message(payload), True)

    def _timeout_to_send(self) -> float | None:
        """Return the time left, never more.

        From 100 ms on it is cut to milliseconds, so that calls with equal timeouts have equal
        header sections, which both ends encode and decode once.
        """
        remaining = self.time_remaining()
        if remaining is None or remaining < _COARSE_TIMEOUT_S:
            return remaining
        return math.floor(remaining * 1000) / 1000

    # ---- the response, called by the connection

    def receive_headers(self, section: FieldSection) -> None:
        """Take the response's header section; one that carries a status is Trailers-Only.

        Raises:
            RemoteProtocolError: it breaks a rule of gRPC.
        """
        parsed: Any = section.memo
        if parsed is None:
            parsed = section.memo = (parse_response_head(section.fields), parse_trailers(section.fields))
        head, status = parsed
        assert isinstance(head, ResponseHead)
        self._head = head
        if self._connection is not None and head.server:
            self._connection.server = head.server
        if not head.is_grpc:
            self._refuse_http(head)
            return
        if status is not None:
            self._server_status = status
            self._initial_metadata = ()
        else:
            if head.http_status != 200:
                self._refuse_http(head)
                return
            if head.encoding != "identity":
                self._response_codec = codec_for(head.encoding)
            self._initial_metadata = head.metadata
        if self._headers_waiters:
            _wake_all(self._headers_waiters)

    def _refuse_http(self, head: ResponseHead) -> None:
        """The answer is not gRPC: synthesise a status from the HTTP one (gRPC http-grpc-status-mapping)."""
        if head.http_status == 200:
            self._abandon(grpc.StatusCode.UNKNOWN, f"unexpected content-type {head.content_type[:100]!r} in the response")
        else:
            self._abandon(status_from_http(head.http_status), f"Received http2 header with status: {head.http_status}")

    def receive_body(self, data: bytes) -> None:
        """Take DATA payload.

        Raises:
            RemoteProtocolError: the bytes are no gRPC messages, or one is over the limit.
        """
        if self._status is not None:
            return
        for compressed, payload in self._reader.receive_data(data):
            if compressed:
                if self._response_codec is None:
                    raise RemoteProtocolError(
                        grpc.StatusCode.INTERNAL, "a message is marked as compressed, but grpc-encoding is identity"
                    )
                self.compressed_responses += 1
                payload = self._response_codec.decompress(payload, self._subchannel.options.max_receive_message_bytes)
            self._messages.append(payload)
            self._queued_bytes += len(payload)
        if self._single_response:
            if len(self._messages) > 1:
                raise RemoteProtocolError(
                    grpc.StatusCode.UNIMPLEMENTED, "more than one response message on a method that returns one"
                )
        elif self._messages:
            self._wake_reader()
            if self._queued_bytes >= _PAUSE_QUEUED_BYTES and not self._paused and self._connection is not None:
                self._paused = True
                self._connection.endpoint.pause(self._connection.number, self._stream)

    def receive_trailers(self, section: FieldSection) -> None:
        """Take the trailer section.

        Raises:
            RemoteProtocolError: it breaks a rule of gRPC.
        """
        status = section.memo
        if status is None:
            status = section.memo = parse_trailers(section.fields)
        assert status is None or isinstance(status, TrailingStatus)
        if self._server_status is None:
            self._server_status = status

    def receive_end(self) -> None:
        """Take the end of the response: the call is complete once the messages before it have been read.

        Raises:
            RemoteProtocolError: a message is cut short.
        """
        if self._status is not None:
            return
        status = self._server_status
        if status is None:
            code = (
                grpc.StatusCode.UNKNOWN
                if self._head is None or self._head.http_status == 200
                else status_from_http(self._head.http_status)
            )
            self._server_status = TrailingStatus(code, "the response ended without a grpc-status", ())
        elif status.code is grpc.StatusCode.OK:
            self._reader.receive_end()
            if self._single_response and not self._messages:
                raise RemoteProtocolError(
                    grpc.StatusCode.UNIMPLEMENTED, "status OK without a response message on a method that returns one"
                )
        if self._messages and not self._single_response:
            # grpc.aio reports the status when the messages before it have been read.
            self._response_ended = True
            self._release_stream()
        else:
            self._complete()

    def _complete(self) -> None:
        status = self._server_status
        assert status is not None
        self._release_stream()
        self._set_status(status.code, status.details, status.metadata)

    def receive_reset(self, code: int) -> None:
        """Take RESET_STREAM: G2's table says which status an HTTP/3 error code means."""
        if self._response_ended or self._status is not None:
            return
        if self._server_status is not None and code == ErrorCode.H3_NO_ERROR:
            self._complete()
            return
        if code == _CANCELLED and self._is_at_deadline():
            self._abandon(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        else:
            self._abandon(status_from_h3_error(code), f"stream reset by the server with HTTP/3 error {_code_name(code)}")

    def _is_at_deadline(self) -> bool:
        """Tell whether the server's cancellation is its own expiry of the same deadline, seen just before ours.

        The timeout sent is cut to milliseconds and timers may fire that much early. PROTOCOL-HTTP2, Errors: a client reports
        DEADLINE_EXCEEDED then.
        """
        remaining = self.time_remaining()
        return remaining is not None and remaining <= _DEADLINE_TOLERANCE_S

    def receive_stopped(self, code: int) -> None:
        """Take STOP_SENDING: the rest of the request is not wanted.

        With H3_NO_ERROR (G2) the response is on its way, and with H3_REQUEST_CANCELLED as well: quic-go's server sends that when it
        has finished the response, and one that really cancels resets the response too. Any other code ends the call.
        """
        if code not in (ErrorCode.H3_NO_ERROR, _CANCELLED) and not self._response_ended:
            self._abandon(status_from_h3_error(code), f"the server stopped reading with HTTP/3 error {_code_name(code)}")
        self._half_closed = True
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def receive_malformed(self, code: int, reason: str) -> None:
        """The response is malformed HTTP (RFC 9114, 4.1.2)."""
        self._abandon(grpc.StatusCode.INTERNAL, f"malformed response, HTTP/3 error {_code_name(code)}: {reason}", code)

    def receive_unprocessed(self, reason: str) -> None:
        """The server says it never looked at this request."""
        self._abandon(grpc.StatusCode.UNAVAILABLE, reason)

    def receive_connection_lost(self, reason: str) -> None:
        """The connection is gone."""
        self._connection = None
        if not self._response_ended:
            self._abandon(grpc.StatusCode.UNAVAILABLE, reason)

    def receive_writable(self) -> None:
        """The engine has room again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # ---- ends

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with a status of our own making."""
        self._abandon(code, details)

    def _expire(self) -> None:
        self._deadline_timer = None
        self._abandon(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _abandon(self, code: grpc.StatusCode, details: str, error_code: int = _CANCELLED) -> None:
        """Set a status of our own and tell the server that nobody waits (G2: RESET_STREAM and STOP_SENDING)."""
        if self._status is not None:
            return
        connection = self._connection
        if connection is not None and not self._response_ended:
            if not self._half_closed:
                connection.endpoint.reset(connection.number, self._stream, error_code)
            connection.endpoint.stop_sending(connection.number, self._stream, error_code)
            connection.wake()
        self._release_stream()
        self._set_status(code, details, ())
        if self._starting is not None and self._starting is not asyncio.current_task():
            self._starting.cancel()

    def _release_stream(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._paused:
                # What was held back counts against the connection's window, also after the server's FIN.
                self._paused = False
                connection.endpoint.resume(connection.number, self._stream)
            connection.forget(self._stream)

    def _set_status(self, code: grpc.StatusCode, details: str, metadata: tuple[Entry, ...]) -> None:
        debug = (
            ""
            if code is grpc.StatusCode.OK
            else f'UNKNOWN:{details} {{grpc_status:{STATUS_NUMBERS[code]}, grpc_message:"{details}"}}'
        )
        self._status = RpcStatus(STATUS_NUMBERS[code], details, metadata, debug)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        if self._initial_metadata is None:
            self._initial_metadata = ()
        self._wake_reader()
        self.receive_writable()
        if self._headers_waiters:
            _wake_all(self._headers_waiters)
        if self._status_waiters:
            _wake_all(self._status_waiters)
        callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            callback()

    def _replace_status(self, code: grpc.StatusCode, details: str) -> None:
        """A response that cannot be parsed turns even an OK into an error."""
        if self._status is None:
            self._abandon(code, details)
        else:
            self._status = RpcStatus(STATUS_NUMBERS[code], details, (), details)

    def _wake_reader(self) -> None:
        if self._read_waiter is not None and not self._read_waiter.done():
            self._read_waiter.set_result(None)


def _wake_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


def _code_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"{code:#x}"
