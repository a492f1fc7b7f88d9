"""``grpc.aio.ServicerContext`` over a :class:`~quicrpc.server.call.ServerCall`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from grpc import aio

from quicrpc.rpc.metadata import Entry, checked_metadata, take_compression
from quicrpc.server.call import ServerCall
from quicrpc.server.handlers import Metadatum
from quicrpc.wire.compression import compression_name
from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.status import status_code

__all__ = ["RequestIterator", "ServicerContext"]


def _as_status_code(code: Any) -> grpc.StatusCode:
    return code if isinstance(code, grpc.StatusCode) else status_code(int(code))


class ServicerContext(aio.ServicerContext[Any, Any]):
    """What a handler sees of its call. Only usable on the event loop that runs the server."""

    __slots__ = (
        "_abort_error",
        "_call",
        "_code",
        "_compress_next",
        "_deserialize",
        "_details",
        "_initial_metadata",
        "_serialize",
        "_trailing_metadata",
    )

    def __init__(self, call: ServerCall) -> None:
        self._call = call
        self._deserialize: Callable[[bytes], Any] | None = None
        self._serialize: Callable[[Any], bytes] | None = None
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._initial_metadata: tuple[Entry, ...] = ()
        self._trailing_metadata: tuple[Entry, ...] = ()
        self._abort_error: aio.AbortError | None = None
        self._compress_next = True

    # ---- messages

    async def read(self) -> Any:
        """Return the next request message, or ``grpc.aio.EOF``."""
        self.raise_for_termination()
        message = await self._call.next_message()
        self.raise_for_termination()
        if message is None:
            return aio.EOF
        return self.deserialized(message)

    def deserialized(self, message: bytes) -> Any:
        """Parse a request message.

        Raises:
            RemoteProtocolError: INTERNAL, as the client sent bytes that are no such message.
        """
        if self._deserialize is None:
            return message
        try:
            return self._deserialize(message)
        except Exception as error:
            raise RemoteProtocolError(
                grpc.StatusCode.INTERNAL, f"Exception deserializing request: {type(error).__name__}"
            ) from error

    def use_serializers(self, deserialize: Callable[[bytes], Any] | None, serialize: Callable[[Any], bytes] | None) -> None:
        """Set how messages are parsed and written, once the handler is known."""
        self._deserialize = deserialize
        self._serialize = serialize

    async def write(self, message: Any) -> None:
        """Send one response message; returns when the stream is below its watermark."""
        writable = self._send(message)
        del message
        if writable is not None:
            await writable

    def _send(self, message: Any) -> asyncio.Future[None] | None:
        self.raise_for_termination()
        payload = message if self._serialize is None else self._serialize(message)
        self.check_send_size(payload)
        compress, self._compress_next = self._compress_next, True
        return self._call.send_message(payload, self._initial_metadata, compress=compress)

    def check_send_size(self, payload: bytes) -> None:
        """Abort the call when a message is above ``grpc.max_send_message_length``."""
        limit = self._call.connection.listener.options.max_send_message_bytes
        if limit is not None and len(payload) > limit:
            self._end_with(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Sent message larger than max ({len(payload)} vs. {limit})", ())

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the response's header section now."""
        self.raise_for_termination()
        if self._call.headers_sent:
            raise aio.UsageError("Send initial metadata failed: already sent")
        compression, entries = take_compression(checked_metadata(initial_metadata))
        if compression is not None:
            self._call.use_compression(compression)
        self._call.send_headers(entries)

    # ---- status

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status and raise ``grpc.aio.AbortError``; what was set before fills in what is not given."""
        if self._abort_error is not None:
            raise aio.UsageError("Abort already called!")
        entries = checked_metadata(trailing_metadata) or self._trailing_metadata
        status = _as_status_code(code)
        if status is grpc.StatusCode.OK:
            # gRPC forbids it; grpc's sync server answers the same.
            status, details = grpc.StatusCode.UNKNOWN, "abort() called with StatusCode.OK"
        self._end_with(status, details or self._details, entries)

    async def abort_with_status(self, status: Any) -> NoReturn:
        """End the call with a ``grpc.Status``."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def _end_with(self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[Entry, ...]) -> NoReturn:
        self._code, self._details, self._trailing_metadata = code, details, trailing_metadata
        self._abort_error = aio.AbortError("Locally aborted.")
        self._call.finish(code, details, trailing_metadata, initial_metadata=self._initial_metadata)
        raise self._abort_error

    def raise_for_termination(self) -> None:
        """Stop a handler whose call has ended.

        Raises:
            grpc.aio.AbortError: the handler aborted and swallowed it.
            asyncio.CancelledError: the client cancelled, or the deadline passed.
            grpc.aio.UsageError: the status was sent.
        """
        if self._abort_error is not None:
            raise self._abort_error
        if self._call.finished:
            if self._call.task is not None and self._call.task.cancelling():
                raise asyncio.CancelledError("RPC already terminated.")
            raise aio.UsageError("RPC already finished.")

    @property
    def aborted(self) -> bool:
        """Whether the handler ended the call itself with ``abort``."""
        return self._abort_error is not None

    def finish(self, payload: bytes | None) -> None:
        """Send the response of a handler that returned; ``payload`` is a unary response's message."""
        if payload is not None:
            self.check_send_size(payload)
        self._call.finish(
            self._code,
            self._details,
            self._trailing_metadata,
            payload=payload,
            initial_metadata=self._initial_metadata,
            compress=self._compress_next,
        )

    def fail(self, error: BaseException) -> None:
        """End the call for an exception that escaped the handler: the status set before, or UNKNOWN, as grpc.aio does."""
        code = grpc.StatusCode.UNKNOWN if self._code is grpc.StatusCode.OK else self._code
        self._code = code
        try:
            self._details = f"Unexpected {type(error)}: {error}"
        except Exception:  # an exception class may fail to describe itself
            self._details = f"Unexpected {type(error)}"
        self._call.finish(code, self._details, self._trailing_metadata, initial_metadata=self._initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set the metadata sent with the status."""
        self._trailing_metadata = checked_metadata(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """Return the metadata to be sent with the status."""
        return self._trailing_metadata

    def set_code(self, code: Any) -> None:
        """Set the status code; an int is understood too."""
        self._code = _as_status_code(code)

    def set_details(self, details: str) -> None:
        """Set the status message."""
        self._details = details

    def code(self) -> Any:
        """Return the status code to be sent; 0 while none is set, as grpcio does."""
        return 0 if self._code is grpc.StatusCode.OK else self._code

    def details(self) -> str:
        """Return the status message to be sent."""
        return self._details

    # ---- compression

    def set_compression(self, compression: Any) -> None:
        """Compress response messages if the client accepts it. Before the initial metadata is sent."""
        if self._call.headers_sent:
            raise RuntimeError("Compression setting must be specified before sending initial metadata")
        self._call.use_compression(compression_name(compression))

    def disable_next_message_compression(self) -> None:
        """Send the next message as it is."""
        self._compress_next = False

    def compressed_requests(self) -> int:
        """Return how many of the request messages taken so far came compressed. Not in grpc.aio."""
        return self._call.compressed_requests

    # ---- the call and its peer

    def invocation_metadata(self) -> Any:
        """Return the client's metadata as a tuple of ``(key, value)``."""
        return tuple(Metadatum(key, value) for key, value in self._call.head.metadata)

    def peer(self) -> str:
        """Return the client's address as grpcio writes it: ``ipv4:127.0.0.1:5000``, ``ipv6:%5B::1%5D:5000``."""
        return self._call.connection.peer()

    def peer_identities(self) -> Sequence[bytes] | None:
        """Return what the client's certificate proves, or None."""
        return self._call.connection.identity().identities()

    def peer_identity_key(self) -> str | None:
        """Return the property that identifies the client, or None."""
        return self._call.connection.identity().identity_key

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Return the properties of the client's transport and certificate, with grpcio's names."""
        return self._call.connection.identity().auth_context

    def is_early_data(self) -> bool:
        """Tell whether the request came as 0-RTT data; only methods without side effects ever see True. Not in grpc.aio."""
        return self._call.early

    def transport(self) -> str:
        """Return ``"h3"``. Not in grpc.aio."""
        return "h3"

    def time_remaining(self) -> Any:
        """Return the seconds left, never negative; None without a deadline."""
        deadline = self._call.deadline
        if deadline is None:
            return None
        return max(deadline - self._call.connection.loop.time(), 0.0)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(context)`` when the call ends."""
        self._call.on_finish(lambda: callback(self))

    def cancelled(self) -> bool:
        """Tell whether the call ended by the client's cancellation or the deadline."""
        task = self._call.task
        return self._call.aborted_by_peer or (self._call.finished and task is not None and task.cancelling() > 0)

    def done(self) -> bool:
        """Tell whether the call has ended."""
        return self._call.finished


class RequestIterator:
    """The request messages of a stream, as the async iterator a handler gets."""

    __slots__ = ("_context",)

    def __init__(self, context: ServicerContext) -> None:
        self._context = context

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is aio.EOF:
            raise StopAsyncIteration
        return message
