"""One call on one HTTP/3 request stream, seen from the server: messages in, one response out, exactly one end.

Everything here is synchronous or waits on the call's own futures; who runs the handler is ``dispatch``'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import grpc

from quicrpc.h3.errors import ErrorCode
from quicrpc.h3.frames import data_frame_header
from quicrpc.h3.qpack import headers_frame
from quicrpc.wire.compression import ACCEPT_ENCODING, Codec, codec_for
from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.fields import RequestHead, response_fields, trailer_fields, trailers_only_fields
from quicrpc.wire.framing import MessageReader, frame_message
from quicrpc.wire.metadata import encode_metadata

if TYPE_CHECKING:
    from quicrpc.server.handlers import MethodPlan
    from quicrpc.server.listener_h3 import ServerConnection

__all__ = ["SERVER_STRING", "ServerCall"]

SERVER_STRING = "quicrpc (h3)"

#: A stream whose handler has this much unread is paused: the sender then stops at its flow-control window.
_PAUSE_QUEUED_BYTES = 64 * 1024
#: What a queued message occupies beyond its payload: empty ones, five bytes on the wire, must not queue without end.
_QUEUED_MESSAGE_BYTES = 64
#: Characters of a status message that are sent: one that fills the client's header limit would cost it the status itself.
_MAX_DETAILS = 4096

_OK_HEADERS = headers_frame(response_fields(server=SERVER_STRING, accept_encoding=ACCEPT_ENCODING))
_OK_TRAILERS = headers_frame(trailer_fields(grpc.StatusCode.OK, ""))


class ServerCall:
    """State of one call.

    Attributes:
        head: What the request's header section said.
        connection: Where the call came in.
        stream: QUIC stream ID.
        early: The request came as 0-RTT data.
        deadline: Loop time at which the call expires, or None.
        plan: How a registered method is served; None when generic handlers or interceptors must be asked.
        messages: Request messages not taken yet, as (compressed flag, payload). They are inflated one at a time when taken: a
            window full of small compressed messages would otherwise become a thousand times its size.
        compressed_requests: Messages taken that came compressed.
        request_ended: The client half-closed.
        headers_sent, finished: How far the response is. ``finished``: nothing more will be sent.
        aborted_by_peer: The client cancelled, or its connection is gone.
        task: Runs the handler.
    """

    __slots__ = (
        "_codec",
        "_encoding",
        "_on_finish",
        "_queued_bytes",
        "_reader",
        "_request_codec",
        "_waiter",
        "_writable",
        "aborted_by_peer",
        "compressed_requests",
        "connection",
        "deadline",
        "deadline_timer",
        "early",
        "finished",
        "head",
        "headers_sent",
        "messages",
        "paused",
        "plan",
        "request_ended",
        "stream",
        "task",
    )

    def __init__(
        self,
        connection: ServerConnection,
        stream: int,
        head: RequestHead,
        plan: MethodPlan | None,
        *,
        early: bool,
        max_message_bytes: int | None,
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.head = head
        self.plan = plan
        self.early = early
        self.deadline: float | None = None
        self.deadline_timer: asyncio.TimerHandle | None = None
        self.messages: deque[tuple[bool, bytes]] = deque()
        self.request_ended = False
        self.headers_sent = False
        self.finished = False
        self.aborted_by_peer = False
        self.paused = False
        self.task: asyncio.Task[None] | None = None
        self._reader = MessageReader(max_message_bytes)
        self._request_codec = None if head.encoding == "identity" else codec_for(head.encoding)
        self.compressed_requests = 0
        self._queued_bytes = 0
        self._codec: Codec | None = None
        self._encoding: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._on_finish: list[Callable[[], None]] | None = None

    # ---- request side, called by the connection

    def receive_body(self, data: bytes) -> None:
        """Take DATA payload.

        Raises:
            RemoteProtocolError: the bytes are no gRPC messages, or one is over the limit.
        """
        if self.finished:
            return
        for message in self._reader.receive_data(data):
            self.messages.append(message)
            self._queued_bytes += len(message[1]) + _QUEUED_MESSAGE_BYTES
        if self.messages:
            if self.plan is not None and not self.plan.request_streaming and len(self.messages) > 1:
                raise RemoteProtocolError(grpc.StatusCode.UNIMPLEMENTED, "more than one request message on a method that takes one")
            if self._waiter is not None:
                self._wake(self._waiter)
            if self._queued_bytes >= _PAUSE_QUEUED_BYTES and not self.paused and not self.request_ended:
                self.paused = True
                self.connection.endpoint.pause(self.connection.number, self.stream)

    def _decompress(self, payload: bytes) -> bytes:
        if self._request_codec is None:
            raise RemoteProtocolError(grpc.StatusCode.INTERNAL, "a message is marked as compressed, but grpc-encoding is identity")
        self.compressed_requests += 1
        return self._request_codec.decompress(payload, self.connection.listener.options.max_receive_message_bytes)

    def receive_end(self) -> None:
        """Take the client's half-close.

        Raises:
            RemoteProtocolError: the stream ends inside a message, or a method that takes one message got none.
        """
        if self.finished:
            return
        self._reader.receive_end()
        if self.plan is not None and not self.plan.request_streaming and not self.messages:
            raise RemoteProtocolError(grpc.StatusCode.UNIMPLEMENTED, "no request message on a method that takes one")
        self.request_ended = True
        if self._waiter is not None:
            self._wake(self._waiter)

    def receive_writable(self) -> None:
        """The engine has room again."""
        if self._writable is not None:
            self._wake(self._writable)

    @staticmethod
    def _wake(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    # ---- request side, called by the handler's task

    async def next_message(self) -> bytes | None:
        """Return the next request message; None after the last one. Raises RemoteProtocolError as :meth:`take_message` does."""
        while not self.messages:
            if self.request_ended:
                return None
            self._waiter = self.connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take_message()

    def take_message(self) -> bytes:
        """Return a message that is there, decompressed, and the flow-control credit it held back.

        Raises:
            RemoteProtocolError: it cannot be decompressed, or is over the limit when it is.
        """
        compressed, message = self.messages.popleft()
        self._queued_bytes -= len(message) + _QUEUED_MESSAGE_BYTES
        if self.paused and self._queued_bytes < _PAUSE_QUEUED_BYTES:
            self.paused = False
            self.connection.endpoint.resume(self.connection.number, self.stream)
            self.connection.wake()
        return self._decompress(message) if compressed else message

    # ---- response side

    def use_compression(self, encoding: str | None) -> None:
        """Compress response messages with ``encoding`` if the client accepts it. Before the headers are sent."""
        if encoding is None or encoding == "identity" or encoding not in self.head.accept_encodings:
            self._codec = self._encoding = None
        else:
            self._codec = codec_for(encoding)
            self._encoding = encoding if self._codec is not None else None

    def _headers(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> bytes:
        self.headers_sent = True
        if not metadata and self._encoding is None:
            return _OK_HEADERS
        fields = response_fields(
            encoding=self._encoding,
            accept_encoding=ACCEPT_ENCODING,
            server=SERVER_STRING,
            metadata_fields=encode_metadata(metadata),
        )
        return headers_frame(fields)

    def _message(self, payload: bytes, compress: bool) -> bytes:
        if compress and self._codec is not None:
            framed = frame_message(self._codec.compress(payload), True)
        else:
            framed = frame_message(payload)
        return data_frame_header(len(framed)) + framed

    def send_headers(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Send the response's header section."""
        self._send(self._headers(metadata), False)

    def send_message(
        self, payload: bytes, metadata: Iterable[tuple[str, str | bytes]] | None, *, compress: bool = True
    ) -> asyncio.Future[None] | None:
        """Send one message, after the header section if that was not sent yet.

        Returns:
            What to await before the next one while the stream is above its watermark, else None. Not a coroutine, because its
            frame would keep copies of the message for as long as the client does not read.
        """
        data = self._message(payload, compress)
        if not self.headers_sent:
            data = self._headers(metadata) + data
        if self._send(data, False):
            return None
        self._writable = self.connection.loop.create_future()
        return self._writable

    def finish(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing_metadata: Iterable[tuple[str, str | bytes]] | None,
        *,
        payload: bytes | None = None,
        initial_metadata: Iterable[tuple[str, str | bytes]] | None = None,
        compress: bool = True,
    ) -> None:
        """Send what is left of the response and its status, in one piece. Nothing after the first time."""
        if self.finished:
            return
        details = details[:_MAX_DETAILS]
        if payload is None and not self.headers_sent and code is not grpc.StatusCode.OK and not initial_metadata:
            self._end(
                headers_frame(
                    trailers_only_fields(code, details, server=SERVER_STRING, metadata_fields=encode_metadata(trailing_metadata))
                )
            )
            return
        data = b"" if self.headers_sent else self._headers(initial_metadata)
        if payload is not None:
            data += self._message(payload, compress)
        if code is grpc.StatusCode.OK and not details and not trailing_metadata:
            data += _OK_TRAILERS
        else:
            data += headers_frame(trailer_fields(code, details, encode_metadata(trailing_metadata)))
        self._end(data)

    def finish_raw(self, headers: bytes) -> None:
        """Answer with one ready header section and end (HTTP errors)."""
        if not self.finished:
            self._end(headers)

    def _send(self, data: bytes, fin: bool) -> bool:
        connection = self.connection
        written = connection.endpoint.send(connection.number, self.stream, data, fin)
        connection.wake()
        return written

    def _end(self, data: bytes) -> None:
        self.finished = True
        self._send(data, True)
        if not self.request_ended:
            # G2: the rest of the request is not needed; the response stays valid (RFC 9114, 4.1.1).
            self.connection.endpoint.stop_sending(self.connection.number, self.stream, ErrorCode.H3_NO_ERROR)
        self._release()

    # ---- abnormal ends

    def expire(self) -> None:
        """The deadline passed: reset, as G2 says, and cancel the handler."""
        self.deadline_timer = None
        self.cancel(ErrorCode.H3_REQUEST_CANCELLED)

    def cancel(self, code: int) -> None:
        """Reset the stream with ``code`` and cancel the handler."""
        if not self.finished:
            self.finished = True
            endpoint, number = self.connection.endpoint, self.connection.number
            endpoint.reset(number, self.stream, code)
            if not self.request_ended:
                endpoint.stop_sending(number, self.stream, code)
            self.connection.wake()
            self._cancel_task()
            self._release()

    def receive_abort(self) -> None:
        """The client cancelled (RESET_STREAM or STOP_SENDING), or the connection is gone."""
        if not self.finished:
            self.aborted_by_peer = True
            self.cancel(ErrorCode.H3_REQUEST_CANCELLED)

    def _cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _release(self) -> None:
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
            self.deadline_timer = None
        self.messages.clear()
        if self.paused:
            # Also after the client's half-close, what was held back counts against the connection's window.
            self.paused = False
            self.connection.endpoint.resume(self.connection.number, self.stream)
        self.connection.call_finished(self)
        if self._on_finish is not None:
            callbacks, self._on_finish = self._on_finish, None
            for callback in callbacks:
                with contextlib.suppress(Exception):
                    callback()

    def on_finish(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the call ends; at once if it has."""
        if self.finished:
            callback()
        elif self._on_finish is None:
            self._on_finish = [callback]
        else:
            self._on_finish.append(callback)
