"""Ends a set of HTTP/3 listeners: GOAWAY, wait for the calls in flight, cancel the rest, close."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quicrpc.h3.errors import ErrorCode
from quicrpc.server.dispatch import Dispatcher
from quicrpc.server.listener_h3 import H3Listener

__all__ = ["drain"]

#: How long cancelled handlers get to run their ``finally`` blocks before the sockets close anyway.
_CANCELLED_HANDLERS_S = 5.0
#: How long the last responses get to be acknowledged.
_LAST_RESPONSES_S = 1.0


async def drain(listeners: Sequence[H3Listener], dispatcher: Dispatcher, grace: float | None) -> None:
    """Stop serving. New calls are refused at once.

    Args:
        listeners: Listeners that share ``dispatcher``.
        dispatcher: Knows the running handlers.
        grace: Seconds that calls in flight get to finish; None: none.
    """
    for listener in listeners:
        listener.start_draining()
    if grace and dispatcher.tasks:
        await asyncio.wait(list(dispatcher.tasks), timeout=grace)
    for listener in listeners:
        for call in listener.active_calls():
            call.cancel(ErrorCode.H3_REQUEST_CANCELLED)
    tasks = list(dispatcher.tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCELLED_HANDLERS_S)
    await asyncio.gather(*(listener.wait_closed(_LAST_RESPONSES_S if grace else 0.0) for listener in listeners))
    for listener in listeners:
        listener.close()
