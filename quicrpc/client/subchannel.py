"""HTTP/3 connectivity of a channel: one connection at a time, made again when it is lost (gRPC connectivity, pick_first)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import grpc

from quicrpc.client.connection import ClientConnection
from quicrpc.client.options import ChannelOptions
from quicrpc.client.resolver import Target, resolve
from quicrpc.client.tickets import TicketCache
from quicrpc.h3.qpack import FieldDecoders, headers_frame
from quicrpc.quic.engine import Address, EndpointOptions
from quicrpc.rpc.method import has_no_side_effects
from quicrpc.security.credentials import ChannelSecurity
from quicrpc.transport.engines import create_endpoint
from quicrpc.transport.links import BindLink, NotifyingLink
from quicrpc.wire.compression import ACCEPT_ENCODING
from quicrpc.wire.fields import request_fields

if TYPE_CHECKING:
    from quicrpc.client.call import H3Call

__all__ = ["Subchannel"]

_LOGGER = logging.getLogger(__name__)
_State = grpc.ChannelConnectivity
#: gRPC connection-backoff: each pause is this much longer than the last, spread by this much.
_BACKOFF_FACTOR = 1.6
_BACKOFF_JITTER = 0.2


class Subchannel:
    """Keeps one HTTP/3 connection to a target.

    Args:
        target: Where to.
        security: Roots and client certificate.
        options: Limits and times.
        user_agent: What requests say of us.
        compression: Request encoding unless a call chooses, or None.
        tickets: Session tickets, shared by the channels of a process.
        loop: The event loop.
        bind: Makes the link for a connection to an address.

    Attributes:
        state: ``grpc.ChannelConnectivity``.
        last_error: Why the last attempt failed, or "".
    """

    def __init__(
        self,
        target: Target,
        security: ChannelSecurity,
        options: ChannelOptions,
        *,
        user_agent: str,
        compression: str | None,
        tickets: TicketCache,
        loop: asyncio.AbstractEventLoop,
        bind: BindLink,
    ) -> None:
        self.target = target
        self.options = options
        self.loop = loop
        self.user_agent = user_agent
        self.compression = compression
        self.authority = options.authority or target.authority
        self.state = _State.IDLE
        self.last_error = ""
        self._security = security
        self._server_name = options.server_name or target.server_name
        self._tickets = tickets
        self._bind = bind
        # Tickets stand for a server *and* for who we are: another client certificate must not resume with them.
        certificate = security.certificate.certificate_chain if security.certificate else b""
        self._ticket_key = f"{target.text}\n{self._server_name}\n{hash((security.root_certificates, certificate))}"
        self._decoders = FieldDecoders(max_field_section_bytes=options.max_metadata_bytes)
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._backoff_s = options.initial_backoff_s
        self._watchers: list[asyncio.Future[None]] = []
        self._closed = False
        #: Called with every new state.
        self.state_changed: Callable[[grpc.ChannelConnectivity], None] | None = None

    # ---- for calls

    @lru_cache(maxsize=256)  # noqa: B019  # bounded, and a subchannel lives as long as its channel
    def constant_head(self, path: str) -> bytes:
        """Return the HEADERS frame of a call without deadline, metadata and compression."""
        return headers_frame(
            request_fields(method=path, authority=self.authority, accept_encoding=ACCEPT_ENCODING, user_agent=self.user_agent)
        )

    def usable_connection(self, path: str) -> ClientConnection | None:
        """Return a connection that takes this method now, or None. Begins to connect if nobody has."""
        connection = self._connection
        if connection is not None and not connection.draining:
            if connection.ready:
                return connection
            if connection.early and has_no_side_effects(path):
                return connection
        return None

    async def connection_for(self, call: H3Call) -> ClientConnection | None:
        """Wait for a connection that takes the call. None when the call has ended meanwhile.

        A call that does not wait for readiness fails with UNAVAILABLE as soon as an attempt has failed.
        """
        while not call.done():
            connection = self.usable_connection(call.path)
            if connection is not None:
                return connection
            if self._closed:
                call.fail(grpc.StatusCode.CANCELLED, "Channel closed!")
                return None
            if self.state is _State.TRANSIENT_FAILURE and not call.wait_for_ready:
                call.fail(
                    grpc.StatusCode.UNAVAILABLE,
                    f"failed to connect to all addresses of {self.target.text}; last error: {self.last_error}",
                )
                return None
            self.connect()
            connection = self.usable_connection(call.path)
            if connection is None:
                await self.next_change()
        return None

    async def next_change(self) -> None:
        """Wait for the next change of state."""
        watcher = self.loop.create_future()
        self._watchers.append(watcher)
        try:
            await watcher
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    # ---- connectivity

    @property
    def connection(self) -> ClientConnection | None:
        """The connection that is ready or being made."""
        return self._connection

    def connect(self) -> None:
        """Begin to connect unless a connection is there, being made, or waiting out a pause."""
        if self._closed or self._connecting is not None or self._retry_timer is not None:
            return
        if self._connection is not None and not self._connection.draining:
            return
        self._connecting = self.loop.create_task(self._connect())

    async def wait_ready(self) -> bool:
        """Wait until the connection is ready (True) or the attempt has failed (False)."""
        while not self._closed:
            if self.state is _State.READY:
                return True
            if self.state is _State.TRANSIENT_FAILURE:
                return False
            self.connect()
            await self.next_change()
        return False

    async def _connect(self) -> None:
        self._set_state(_State.CONNECTING)
        try:
            addresses = await resolve(self.target)
            for address in addresses:
                if await self._try_address(address):
                    self._backoff_s = self.options.initial_backoff_s
                    return
        except OSError as error:
            self.last_error = str(error)
        except ValueError as error:
            self.last_error = str(error)
        except Exception as error:
            _LOGGER.exception("connecting to %s", self.target.text)
            self.last_error = f"{type(error).__name__}: {error}"
        finally:
            self._connecting = None
        self._connection = None
        self._set_state(_State.TRANSIENT_FAILURE)
        pause = max(self._backoff_s * random.uniform(1 - _BACKOFF_JITTER, 1 + _BACKOFF_JITTER), self.options.min_backoff_s)
        self._backoff_s = min(self._backoff_s * _BACKOFF_FACTOR, self.options.max_backoff_s)
        self._retry_timer = self.loop.call_later(pause, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self.connect()

    async def _try_address(self, address: Address) -> bool:
        """Make a connection to one address; True once the handshake is complete."""
        options = self.options
        settled: asyncio.Future[str | None] = self.loop.create_future()

        def ready(connection: ClientConnection) -> None:
            if not settled.done():
                settled.set_result(None)

        def closed(connection: ClientConnection, reason: str) -> None:
            if not settled.done():
                settled.set_result(reason)
            self._connection_closed(connection, reason)

        link = self._bind(address)
        endpoint = create_endpoint(
            link,
            EndpointOptions(
                is_client=True,
                certificates=(self._security.certificate,) if self._security.certificate else (),
                root_certificates=self._security.root_certificates,
                early_data=options.early_data,
                ticket_received=lambda _number, ticket: self._tickets.put(self._ticket_key, ticket),
                stream_window_bytes=options.stream_window_bytes,
                connection_window_bytes=options.connection_window_bytes,
                idle_timeout_s=options.idle_timeout_s,
                handshake_timeout_s=options.connect_timeout_s,
                max_datagram_bytes=options.max_datagram_bytes,
                max_receive_datagram_bytes=max(1500, options.max_datagram_bytes),
            ),
        )
        connection = ClientConnection(
            endpoint,
            address,
            self._server_name,
            ticket=self._tickets.take(self._ticket_key) if options.early_data else None,
            decoders=self._decoders,
            max_field_section_bytes=options.max_metadata_bytes,
            on_ready=ready,
            on_closed=closed,
            loop=self.loop,
        )
        if isinstance(link, NotifyingLink):
            link.notify(connection.receive)
        self._connection = connection
        if connection.early:
            self._notify()  # calls without side effects may go now
        try:
            reason = await settled
        except asyncio.CancelledError:
            connection.close("channel closed")
            raise
        if reason is not None:
            self.last_error = f"{_address_text(address)}: {reason}"
            return False
        self._set_state(_State.READY)
        return True

    def _connection_closed(self, connection: ClientConnection, reason: str) -> None:
        if connection is not self._connection or self._connecting is not None:
            return
        self._connection = None
        self.last_error = reason
        if not self._closed:
            self._set_state(_State.IDLE)

    def _set_state(self, state: grpc.ChannelConnectivity) -> None:
        if state is self.state:
            return
        self.state = state
        if self.state_changed is not None:
            self.state_changed(state)
        self._notify()

    def _notify(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def close(self) -> None:
        """Close the connection and stop trying. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close("channel closed")
        self._set_state(_State.SHUTDOWN)


def _address_text(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if len(address) == 4 else f"{address[0]}:{address[1]}"
