"""The HTTP/2 leg of a channel: grpcio's own channel, carrying bytes. The only place on the client that runs grpcio's core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc import aio

from quicrpc.client.grpcio import EOF, AioChannel, InternalError, RpcStatus, core_of
from quicrpc.wire.status import STATUS_NUMBERS

__all__ = ["BytesCall", "H2Channel"]


class H2Channel:
    """A ``grpc.aio`` channel, made when it is first needed: it connects over TCP.

    Args:
        target: The target as given.
        credentials: grpcio's channel credentials, or None for plain text.
        options: Channel arguments.
        compression: Default request compression.
    """

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, Any]],
        compression: grpc.Compression | None,
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._options = tuple(options)
        self._compression = compression
        self._channel: aio.Channel | None = None

    @property
    def made(self) -> bool:
        """Whether the channel was needed yet."""
        return self._channel is not None

    @property
    def channel(self) -> aio.Channel:
        """The channel."""
        if self._channel is None:
            if self._credentials is None:
                self._channel = aio.insecure_channel(self._target, self._options, self._compression)
            else:
                self._channel = aio.secure_channel(self._target, self._credentials, self._options, self._compression)
        return self._channel

    @property
    def core(self) -> AioChannel:
        """The channel's core."""
        core: AioChannel = core_of(self.channel)
        return core

    async def wait_ready(self) -> bool:
        """Wait until the channel is ready (True) or an attempt has failed (False)."""
        channel = self.channel
        state = channel.get_state(try_to_connect=True)
        while True:
            if state is grpc.ChannelConnectivity.READY:
                return True
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                return False
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Close the channel if it was made."""
        if self._channel is not None:
            await self._channel.close()

    def close_core(self) -> None:
        """Close the channel's core at once."""
        if self._channel is not None:
            core_of(self._channel).close()


class BytesCall:
    """A core call of grpcio's, with (de)serialisation in front: what a call of an ``auto`` channel becomes when HTTP/2 won."""

    transport = "h2"

    __slots__ = ("__weakref__", "_deserialize", "_inner", "_override", "_serialize")

    def __init__(self, inner: Any, serialize: Callable[[Any], bytes] | None, deserialize: Callable[[bytes], Any] | None) -> None:
        self._inner = inner
        self._serialize = serialize
        self._deserialize = deserialize
        self._override: Any = None

    def __getattr__(self, name: str) -> Any:
        # Whatever needs no (de)serialisation is grpcio's own.
        return getattr(self._inner, name)

    @property
    def _status(self) -> Any:
        return self._override or self._inner._status

    def is_ok(self) -> bool:
        """Tell whether the status is OK."""
        return self._override is None and bool(self._inner.is_ok())

    async def status(self) -> Any:
        """Wait for the end; returns the status."""
        status = await self._inner.status()
        return self._override or status

    def _serialized(self, message: Any) -> Any:
        if self._serialize is None:
            return message
        try:
            return self._serialize(message)
        except Exception as error:
            self._inner.set_internal_error(f"Exception serializing request: {type(error).__name__}: {error}")
            raise InternalError("the request cannot be serialized") from error

    def _deserialized(self, message: Any) -> Any:
        if message is None or message is EOF or self._deserialize is None:
            return message
        try:
            return self._deserialize(message)
        except Exception as error:
            text = f"Exception deserializing response: {type(error).__name__}: {error}"
            self._override = RpcStatus(STATUS_NUMBERS[grpc.StatusCode.INTERNAL], text, (), text)
            return EOF

    async def unary_unary(self, request: Any, metadata: Any, context: Any = None) -> Any:
        """Send one message and return the one response; None if the status is not OK."""
        try:
            payload = self._serialized(request)
        except InternalError:
            return None
        return self._deserialized(await self._inner.unary_unary(payload, metadata, context))

    async def initiate_unary_stream(self, request: Any, metadata: Any, context: Any = None) -> None:
        """Send one message; returns when the response has begun."""
        try:
            payload = self._serialized(request)
        except InternalError:
            return
        await self._inner.initiate_unary_stream(payload, metadata, context)

    async def stream_unary(self, metadata: Any, metadata_sent_observer: Any, context: Any = None) -> Any:
        """Begin a call with a stream of requests and return its one response; None if the status is not OK."""
        return self._deserialized(await self._inner.stream_unary(metadata, metadata_sent_observer, context))

    async def send_serialized_message(self, message: Any) -> None:
        """Send one message."""
        await self._inner.send_serialized_message(self._serialized(message))

    async def receive_serialized_message(self) -> Any:
        """Return the next response; EOF after the last one."""
        return self._deserialized(await self._inner.receive_serialized_message())
