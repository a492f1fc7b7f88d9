"""Handlers that are plain functions: they run in a thread pool, with a context and iterators that may be used from there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any

import grpc

from quicrpc.h3.errors import ErrorCode
from quicrpc.server.context import RequestIterator, ServicerContext
from quicrpc.server.handlers import MethodPlan

__all__ = ["SyncServicerContext", "run"]

_END = object()


class SyncServicerContext(grpc.ServicerContext):
    """``grpc.ServicerContext`` for a handler in another thread; what touches the call is handed to the event loop."""

    def __init__(self, context: ServicerContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self._callbacks: list[Callable[[], None]] = []

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def abort(self, code: Any, details: str) -> Any:
        """End the call with a status and raise."""
        self._on_loop(self._context.abort(code, details))

    def abort_with_status(self, status: Any) -> Any:
        """End the call with a ``grpc.Status`` and raise."""
        self._on_loop(self._context.abort_with_status(status))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the response's header section now."""
        self._on_loop(self._context.send_initial_metadata(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set the metadata sent with the status."""
        self._context.set_trailing_metadata(trailing_metadata)

    def invocation_metadata(self) -> Any:
        """Return the client's metadata."""
        return self._context.invocation_metadata()

    def set_code(self, code: Any) -> None:
        """Set the status code."""
        self._context.set_code(code)

    def set_details(self, details: str) -> None:
        """Set the status message."""
        self._context.set_details(details)

    def code(self) -> Any:
        """Return the status code to be sent."""
        return self._context.code()

    def details(self) -> Any:
        """Return the status message to be sent."""
        return self._context.details()

    def trailing_metadata(self) -> Any:
        """Return the metadata to be sent with the status."""
        return self._context.trailing_metadata()

    def set_compression(self, compression: Any) -> None:
        """Compress response messages if the client accepts it."""
        self._context.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        """Send the next message as it is."""
        self._context.disable_next_message_compression()

    def peer(self) -> str:
        """Return the client's address."""
        return self._context.peer()

    def peer_identities(self) -> Any:
        """Return what the client's certificate proves, or None."""
        return self._context.peer_identities()

    def peer_identity_key(self) -> Any:
        """Return the property that identifies the client, or None."""
        return self._context.peer_identity_key()

    def auth_context(self) -> Any:
        """Return the properties of the client's transport and certificate."""
        return self._context.auth_context()

    def time_remaining(self) -> Any:
        """Return the seconds left, or None."""
        return self._context.time_remaining()

    def is_active(self) -> bool:
        """Tell whether the call goes on."""
        return not self._context.done()

    def cancel(self) -> bool:
        """End the call as cancelled. Returns True."""
        self._loop.call_soon_threadsafe(self._context._call.cancel, ErrorCode.H3_REQUEST_CANCELLED)
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` when the call ends; False if it has."""
        if self._context.done():
            return False
        self._loop.call_soon_threadsafe(self._context.add_done_callback, lambda _context: callback())
        return True


def _blocking_requests(requests: RequestIterator, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    async def following() -> Any:
        try:
            return await requests.__anext__()
        except StopAsyncIteration:
            return _END

    while (message := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not _END:
        yield message


async def run(
    loop: asyncio.AbstractEventLoop, pool: Executor | None, method: MethodPlan, request: Any, context: ServicerContext
) -> None:
    """Serve one call with a function that blocks."""
    sync_context = SyncServicerContext(context, loop)
    if method.request_streaming:
        request = _blocking_requests(request, loop)
    if not method.response_streaming:
        response = await loop.run_in_executor(pool, method.function, request, sync_context)
        context.raise_for_termination()
        payload = None
        if context.code() == 0:
            payload = response if method.serialize is None else method.serialize(response)
        context.finish(payload)
        return
    responses = await loop.run_in_executor(pool, method.function, request, sync_context)
    iterator = iter(responses)
    while (message := await loop.run_in_executor(pool, next, iterator, _END)) is not _END:
        await context.write(message)
    context.raise_for_termination()
    context.finish(None)
