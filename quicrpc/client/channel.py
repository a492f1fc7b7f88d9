"""The core channel under grpc.aio's channel: opens core calls on HTTP/3, on HTTP/2, or on whichever is ready first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import grpc

from quicrpc.client.call import H3Call
from quicrpc.client.call_credentials import plugins_of
from quicrpc.client.channel_h2 import BytesCall, H2Channel
from quicrpc.client.connector import Connector, PendingCall, Transport
from quicrpc.client.subchannel import Subchannel

__all__ = ["ChannelCore", "MethodCore", "TransportChoice"]

TransportChoice = Literal["auto", "h3", "h2"]

_CLOSED = "Channel is closed."


class ChannelCore:
    """What grpc.aio's channel needs below it.

    Args:
        transport: ``"h3"`` or ``"auto"``.
        h3: The HTTP/3 leg.
        connector: Chooses between the legs; None with ``"h3"``.
        h2: The HTTP/2 leg; None with ``"h3"``.
        plugins: Metadata plugins of the channel's credentials.
        loop: The event loop the channel belongs to.
    """

    def __init__(
        self,
        h3: Subchannel,
        connector: Connector | None,
        h2: H2Channel | None,
        plugins: list[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.h3 = h3
        self.h2 = h2
        self.connector = connector
        self.loop = loop
        self._plugins = plugins
        self._closing = False
        self._closed = False

    def open_call(
        self,
        method: bytes,
        deadline: float | None,
        credentials: Any,
        wait_for_ready: bool | None,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
    ) -> Any:
        """Create a core call; nothing is sent before its first method is awaited.

        Raises:
            grpc.aio.UsageError: the channel is closed.
        """
        if self._closing or self._closed:
            raise grpc.aio.UsageError(_CLOSED)
        if self.connector is None:
            return self._open_h3(method, deadline, credentials, wait_for_ready, serialize, deserialize)
        transport = self.connector.current()

        def open_on(chosen: Transport) -> Any:
            if chosen == "h3":
                return self._open_h3(method, deadline, credentials, wait_for_ready, serialize, deserialize)
            assert self.h2 is not None
            call = self.h2.core.call(method, deadline, credentials, wait_for_ready)
            return BytesCall(call, serialize, deserialize)

        if transport is not None:
            return open_on(transport)
        return PendingCall(self.connector, open_on, deadline, self.loop)

    def _open_h3(
        self,
        method: bytes,
        deadline: float | None,
        credentials: Any,
        wait_for_ready: bool | None,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
    ) -> H3Call:
        plugins = self._plugins
        if credentials is not None:
            plugins = [*plugins, *plugins_of((credentials._credentials,))]
        return H3Call(self.h3, method.decode(), deadline, plugins, bool(wait_for_ready), serialize, deserialize)

    # ---- connectivity, with grpcio's names

    def _state(self) -> grpc.ChannelConnectivity:
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if self.connector is not None and self.connector.current() == "h2":
            assert self.h2 is not None
            return self.h2.channel.get_state()
        return self.h3.state

    def check_connectivity_state(self, try_to_connect: bool) -> int:
        """Return the state's number; with ``try_to_connect`` begin to connect when idle."""
        state = self._state()
        if try_to_connect and not self._closed and state is not grpc.ChannelConnectivity.READY:
            if self.connector is None:
                self.h3.connect()
            else:
                self.connector.start()
        number: int = state.value[0]
        return number

    async def watch_connectivity_state(self, last_observed_state: int, deadline: float | None) -> bool:
        """Return True once the state differs from ``last_observed_state``."""
        while self._state().value[0] == last_observed_state:
            if self.connector is None:
                await self.h3.next_change()
            else:
                await self.connector.next_change()
        return True

    def get_registered_call_handle(self, method: bytes) -> int:
        """Return 0: there is no C core to register a method with."""
        return 0

    def closing(self) -> None:
        """Open no more calls."""
        self._closing = True

    def closed(self) -> bool:
        """Tell whether the channel is closed."""
        return self._closed

    def close(self) -> None:
        """Close both legs."""
        if not self._closed:
            self._closed = True
            self.h3.close()
            if self.connector is not None:
                self.connector.close()
            if self.h2 is not None:
                self.h2.close_core()


class MethodCore:
    """A core channel as one multi-callable sees it.

    The (de)serialisers run below grpc.aio's Python layer, where a failure can still become the call's status.
    """

    __slots__ = ("_core", "_deserialize", "_serialize")

    def __init__(
        self, core: ChannelCore, serialize: Callable[[Any], bytes] | None, deserialize: Callable[[bytes], Any] | None
    ) -> None:
        self._core = core
        self._serialize = serialize
        self._deserialize = deserialize

    def call(self, method: bytes, deadline: float | None, credentials: Any, wait_for_ready: bool | None, handle: int = 0) -> Any:
        """Create a core call."""
        return self._core.open_call(method, deadline, credentials, wait_for_ready, self._serialize, self._deserialize)

    def get_registered_call_handle(self, method: bytes) -> int:
        """Return 0."""
        return 0
