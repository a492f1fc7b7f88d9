"""Drives an endpoint from the event loop: readiness -> poll -> events, one flush per turn of the loop, one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from time import monotonic

from quicrpc.quic.engine import Endpoint, Event

__all__ = ["Driver"]

#: A timer is moved only for at least this much: loops count in milliseconds anyway.
_TIMER_SLACK_S = 0.001


class Driver:
    """Runs one endpoint on one event loop.

    Args:
        endpoint: The endpoint; the driver owns it from here on and closes it.
        handle_events: Called with every non-empty batch of events. It must not raise.
        loop: The loop.

    The endpoint's clock is the loop's if that is one of asyncio's own, so that it follows a virtual one. Otherwise it is the
    monotonic one: uvloop's moves in milliseconds, too coarse for round-trip times.
    """

    __slots__ = ("_clock", "_endpoint", "_flush_scheduled", "_handle_events", "_loop", "_stopped", "_timer", "_timer_at", "fileno")

    def __init__(self, endpoint: Endpoint, handle_events: Callable[[list[Event]], None], loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._handle_events = handle_events
        self._loop = loop
        self._clock = loop.time if isinstance(loop, asyncio.BaseEventLoop) else monotonic
        self._flush_scheduled = False
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.fileno = endpoint.fileno()
        if self.fileno >= 0:
            loop.add_reader(self.fileno, self.receive)

    def receive(self) -> None:
        """Read what is waiting and hand its events on."""
        if self._stopped:
            return
        events = self._endpoint.poll(self._clock(), True)
        if events:
            self._handle_events(events)
        self.wake()

    def wake(self) -> None:
        """Something was given to the endpoint: flush once, after everything else that is ready in this turn of the loop.

        Callbacks run first in, first out. Tasks that the events just started take their first step before the flush, so the replies
        of handlers that do not suspend leave in the same datagrams.
        """
        if not self._flush_scheduled and not self._stopped:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._stopped:
            return
        now = self._clock()
        at = self._endpoint.flush(now)
        if at is None:
            return
        # A timer that fires too early only costs a wake-up; moving it on every flush would cost more than all of those.
        if self._timer is None or at < self._timer_at - _TIMER_SLACK_S:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            # In whole milliseconds, upwards: uvloop fires at once what is due in less than half of one, and nothing is due yet.
            self._timer = self._loop.call_later(ceil((at - now) * 1000) / 1000, self._handle_timer)

    def _handle_timer(self) -> None:
        self._timer = None
        if self._stopped:
            return
        events = self._endpoint.poll(self._clock(), False)
        if events:
            self._handle_events(events)
        self._flush()

    def replace_descriptor(self) -> None:
        """The endpoint moved to another socket: watch that one."""
        if self.fileno >= 0:
            self._loop.remove_reader(self.fileno)
        self.fileno = self._endpoint.fileno()
        if self.fileno >= 0:
            self._loop.add_reader(self.fileno, self.receive)
        self.wake()

    def stop(self) -> None:
        """Close every connection and the socket. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self.fileno >= 0:
            self._loop.remove_reader(self.fileno)
        self._endpoint.shutdown(self._clock())
