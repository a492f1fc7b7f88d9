"""``auto``: HTTP/3 first, HTTP/2 beside it after a head start; the first one ready wins (as RFC 8305 races address families)."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import grpc

from quicrpc.client.channel_h2 import H2Channel
from quicrpc.client.grpcio import EOF, InternalError, RpcStatus
from quicrpc.client.options import ChannelOptions
from quicrpc.client.subchannel import Subchannel
from quicrpc.wire.status import STATUS_NUMBERS

__all__ = ["BROKEN_QUIC", "BrokenQuic", "Connector", "PendingCall", "Transport"]

Transport = Literal["h3", "h2"]
_State = grpc.ChannelConnectivity


class BrokenQuic:
    """Peers whose UDP did not get through, and until when that is believed. Bounded; the oldest is forgotten first."""

    def __init__(self, max_peers: int = 1024) -> None:
        self._max_peers = max_peers
        self._until: OrderedDict[str, float] = OrderedDict()

    def remember(self, peer: str, until: float) -> None:
        """Believe that ``peer`` cannot be reached over UDP until ``until``."""
        self._until[peer] = until
        self._until.move_to_end(peer)
        while len(self._until) > self._max_peers:
            self._until.popitem(last=False)

    def forget(self, peer: str) -> None:
        """UDP works."""
        self._until.pop(peer, None)

    def is_broken(self, peer: str, now: float) -> bool:
        """Tell whether to leave HTTP/3 alone for now."""
        return self._until.get(peer, 0.0) > now


#: Shared by the channels of a process: a network that blocks UDP blocks it for all of them.
BROKEN_QUIC = BrokenQuic()


class Connector:
    """Chooses the transport of an ``auto`` channel.

    Args:
        h3: The HTTP/3 leg.
        h2: The HTTP/2 leg.
        options: Head start, and how long broken UDP is remembered.
        broken: The memory.
        loop: The event loop.

    Attributes:
        chosen: The transport new calls take at once; None while that must be found out.
    """

    def __init__(
        self, h3: Subchannel, h2: H2Channel, options: ChannelOptions, broken: BrokenQuic, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.h3 = h3
        self.h2 = h2
        self.chosen: Transport | None = None
        self._options = options
        self._broken = broken
        self._loop = loop
        self._race: asyncio.Task[Transport] | None = None
        self._late: asyncio.Task[None] | None = None

    def current(self) -> Transport | None:
        """Return the transport for a new call, or None when :meth:`choose` must be awaited."""
        if self.chosen == "h3" and self.h3.state is not _State.READY:
            self.chosen = None  # the connection was lost: find out again
        if self.chosen == "h2" and self._late is None and not self._broken.is_broken(self.h3.target.text, self._loop.time()):
            # The memory has run out: try HTTP/3 beside the HTTP/2 that works.
            self._late = self._loop.create_task(self._wait_for_late_h3())
        return self.chosen

    def start(self) -> None:
        """Begin to find a transport, if none is chosen."""
        if self.current() is None and self._race is None:
            self._race = self._loop.create_task(self._run_race())

    async def next_change(self) -> None:
        """Wait until the state of either leg may have changed."""
        watching: list[asyncio.Future[Any]] = [self._loop.create_task(self.h3.next_change())]
        if self.h2.made:
            channel = self.h2.channel
            watching.append(self._loop.create_task(channel.wait_for_state_change(channel.get_state())))
        elif self._race is not None:
            watching.append(self._race)
        try:
            await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watching:
                if task is not self._race:
                    task.cancel()

    async def choose(self) -> Transport:
        """Race the transports, once for all calls that wait."""
        if self._race is None:
            self._race = self._loop.create_task(self._run_race())
        return await asyncio.shield(self._race)

    async def _run_race(self) -> Transport:
        try:
            winner = await self._first_ready()
        finally:
            self._race = None
        return winner

    async def _first_ready(self) -> Transport:
        if self._broken.is_broken(self.h3.target.text, self._loop.time()):
            self.chosen = "h2"
            return "h2"
        h3 = self._loop.create_task(self.h3.wait_ready())
        try:
            done, _ = await asyncio.wait([h3], timeout=self._options.head_start_s)
            if done and h3.result():
                return self._settle("h3")
            h2 = self._loop.create_task(self.h2.wait_ready())
            try:
                while True:
                    pending = [task for task in (h3, h2) if not task.done()]
                    if pending:
                        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    if h3.done() and h3.result():
                        return self._settle("h3")
                    if h2.done() and h2.result():
                        if h3.done():
                            self._remember_broken()
                        elif self._late is None:
                            self._late = self._loop.create_task(self._wait_for_late_h3())
                        return self._settle("h2")
                    if h3.done() and h2.done():
                        return "h2"  # neither is ready: grpcio reports why, and the next call races again
            finally:
                h2.cancel()
        finally:
            h3.cancel()

    def _settle(self, transport: Transport) -> Transport:
        self.chosen = transport
        if transport == "h3":
            self._broken.forget(self.h3.target.text)
        return transport

    def _remember_broken(self) -> None:
        self._broken.remember(self.h3.target.text, self._loop.time() + self._options.broken_quic_s)

    async def _wait_for_late_h3(self) -> None:
        """HTTP/2 carries the calls; move new ones to HTTP/3 if it still comes up, else remember that it did not."""
        try:
            if await self.h3.wait_ready():
                self._settle("h3")
            else:
                self._remember_broken()
        finally:
            self._late = None

    def close(self) -> None:
        """Stop racing."""
        for task in (self._race, self._late):
            if task is not None:
                task.cancel()


class PendingCall:
    """A core call that waits for its transport, then is a core call of that transport.

    Args:
        connector: Chooses.
        open_call: Creates the core call on the transport chosen.
        deadline: Wall-clock seconds, or None.
        loop: The event loop.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_connector",
        "_deadline",
        "_inner",
        "_locally_cancelled",
        "_loop",
        "_open_call",
        "_own_status",
        "_resolved",
        "_timer",
    )

    def __init__(
        self, connector: Connector, open_call: Callable[[Transport], Any], deadline: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connector = connector
        self._open_call = open_call
        self._deadline = deadline
        self._loop = loop
        self._inner: Any = None
        self._own_status: Any = None
        self._locally_cancelled = False
        self._callbacks: list[Callable[[], None]] = []
        self._resolved: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            self._timer = loop.call_later(
                max(deadline - time.time(), 0.0), self._end, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            )

    @property
    def transport(self) -> str | None:
        """``"h3"``, ``"h2"``, or None while it is open."""
        return None if self._inner is None else self._inner.transport

    async def _resolve(self) -> Any:
        """Return the core call; None when this call ended first."""
        if not self._resolved.done():
            choosing: asyncio.Task[Transport] = self._loop.create_task(self._connector.choose())
            waiting: list[asyncio.Future[Any]] = [choosing, self._resolved]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not choosing.done():
                    choosing.cancel()
            if not self._resolved.done():
                self._adopt(self._open_call(choosing.result()))
        return self._inner

    def _adopt(self, inner: Any) -> None:
        self._inner = inner
        self._cancel_timer()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            inner.add_done_callback(callback)
        self._resolved.set_result(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        if self._resolved.done():
            return
        self._cancel_timer()
        self._own_status = RpcStatus(STATUS_NUMBERS[code], details, (), details)
        self._resolved.set_result(None)
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    # ---- what grpc.aio's call objects ask

    @property
    def _initial_metadata(self) -> Any:
        return () if self._inner is None else self._inner._initial_metadata

    @property
    def _status(self) -> Any:
        return self._own_status if self._inner is None else self._inner._status

    def done(self) -> bool:
        """Tell whether the call has a status."""
        return self._own_status is not None if self._inner is None else bool(self._inner.done())

    def cancelled(self) -> bool:
        """Tell whether the status is CANCELLED."""
        return self._locally_cancelled if self._inner is None else bool(self._inner.cancelled())

    def is_ok(self) -> bool:
        """Tell whether the status is OK."""
        return self._inner is not None and bool(self._inner.is_ok())

    def is_locally_cancelled(self) -> bool:
        """Tell whether the application cancelled the call."""
        return self._locally_cancelled if self._inner is None else bool(self._inner.is_locally_cancelled())

    def cancel(self, details: str) -> None:
        """End the call as the application's own cancellation."""
        if self._inner is not None:
            self._inner.cancel(details)
        elif self._own_status is None:
            self._locally_cancelled = True
            self._end(grpc.StatusCode.CANCELLED, details)

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the call has a status."""
        if self._inner is not None:
            self._inner.add_done_callback(callback)
        elif self._own_status is not None:
            callback()
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Return the seconds left, or None."""
        return None if self._deadline is None else max(self._deadline - time.time(), 0.0)

    def set_internal_error(self, error: str) -> None:
        """End the call with INTERNAL unless it has ended."""
        if self._inner is not None:
            self._inner.set_internal_error(error)
        else:
            self._end(grpc.StatusCode.INTERNAL, error)

    async def initial_metadata(self) -> Any:
        """Wait for the response's header section, or the end."""
        await self._resolved
        return () if self._inner is None else await self._inner.initial_metadata()

    async def status(self) -> Any:
        """Wait for the end."""
        await self._resolved
        return self._own_status if self._inner is None else await self._inner.status()

    async def unary_unary(self, request: Any, metadata: Any, context: Any = None) -> Any:
        """See :class:`quicrpc.client.grpcio.CoreCall`."""
        inner = await self._resolve()
        return None if inner is None else await inner.unary_unary(request, metadata, context)

    async def initiate_unary_stream(self, request: Any, metadata: Any, context: Any = None) -> None:
        """See :class:`quicrpc.client.grpcio.CoreCall`."""
        inner = await self._resolve()
        if inner is not None:
            await inner.initiate_unary_stream(request, metadata, context)

    async def stream_unary(self, metadata: Any, metadata_sent_observer: Any, context: Any = None) -> Any:
        """See :class:`quicrpc.client.grpcio.CoreCall`."""
        inner = await self._resolve()
        if inner is None:
            metadata_sent_observer()
            return None
        return await inner.stream_unary(metadata, metadata_sent_observer, context)

    async def initiate_stream_stream(self, metadata: Any, metadata_sent_observer: Any, context: Any = None) -> None:
        """See :class:`quicrpc.client.grpcio.CoreCall`."""
        inner = await self._resolve()
        if inner is None:
            metadata_sent_observer()
        else:
            await inner.initiate_stream_stream(metadata, metadata_sent_observer, context)

    async def send_serialized_message(self, message: Any) -> None:
        """Send one message."""
        if self._inner is None:
            raise InternalError("the call has ended")
        await self._inner.send_serialized_message(message)

    async def send_receive_close(self) -> None:
        """Half-close, once there is a transport."""
        await self._resolved
        if self._inner is not None:
            await self._inner.send_receive_close()

    async def receive_serialized_message(self) -> Any:
        """Return the next response; EOF after the last one."""
        return EOF if self._inner is None else await self._inner.receive_serialized_message()
