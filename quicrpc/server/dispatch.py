"""Runs calls: interceptors, handler lookup, the servicer's function, and the one status at the end.

One task per call. Tasks start eagerly on Python 3.12+; a coroutine is never stepped outside a task, because ``asyncio.timeout`` and
``TaskGroup`` need one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any

import grpc
from grpc import aio

from quicrpc.rpc.interceptor import MethodInterceptor
from quicrpc.server import sync_handlers
from quicrpc.server.call import ServerCall
from quicrpc.server.context import RequestIterator, ServicerContext
from quicrpc.server.handlers import HandlerCallDetails, HandlerTable, Metadatum, MethodPlan, plan
from quicrpc.wire.errors import RemoteProtocolError

__all__ = ["Dispatcher"]

_LOGGER = logging.getLogger(__name__)
_EAGER = sys.version_info >= (3, 12)


class Dispatcher:
    """Serves calls with one set of handlers and interceptors.

    Args:
        handlers: Where handlers are found.
        interceptors: ``grpc.aio.ServerInterceptor``, outermost first.
        thread_pool: Runs handlers that are not coroutines; None: the loop's default pool.
        maximum_concurrent_rpcs: Calls beyond this many are refused with RESOURCE_EXHAUSTED; None: no limit.
        compression: Response encoding unless a handler chooses, or None.
    """

    def __init__(
        self,
        handlers: HandlerTable,
        interceptors: Sequence[aio.ServerInterceptor],
        thread_pool: Executor | None,
        maximum_concurrent_rpcs: int | None,
        compression: str | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.handlers = handlers
        self.tasks: set[asyncio.Task[None]] = set()
        # Interceptors that only wrap methods are applied once; only from the first of another kind on must each call ask.
        asking = list(interceptors)
        wrapping: list[MethodInterceptor] = []
        while asking and isinstance(last := asking[-1], MethodInterceptor):
            wrapping.insert(0, last)
            asking.pop()
        handlers.wrap_with(wrapping)
        self._find = _chain(asking, handlers) if asking else None
        self._thread_pool = thread_pool
        self._maximum = maximum_concurrent_rpcs
        self._compression = compression
        self._loop = loop

    def known_plan(self, path: str) -> MethodPlan | None:
        """Return how a registered method is served, if that is certain without running an interceptor."""
        return self.handlers.known_plan(path) if self._find is None else None

    def may_start(self, call: ServerCall) -> bool:
        """Tell whether there is something to do: a method that takes one message starts when its request is complete."""
        return call.plan is None or call.plan.request_streaming or call.request_ended

    def start(self, call: ServerCall) -> None:
        """Run the call in a task of its own."""
        if self._maximum is not None and len(self.tasks) >= self._maximum:
            call.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", None)
            return
        if self._compression is not None:
            call.use_compression(self._compression)
        coroutine = self._serve(call)
        # Registered before its first step: an eager task may finish within its constructor.
        task = self._create_task(coroutine)
        if not task.done():
            call.task = task
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if _EAGER:
            return asyncio.Task(coroutine, loop=self._loop, eager_start=True)  # type: ignore[call-arg]  # 3.12+
        return self._loop.create_task(coroutine)

    async def _serve(self, call: ServerCall) -> None:
        context = ServicerContext(call)
        try:
            method = call.plan
            if method is None:
                method = await self._resolve(call)
                if method is None:
                    call.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", None)
                    return
            context.use_serializers(method.deserialize, method.serialize)
            await self._run(call, context, method)
        except aio.AbortError as error:
            if not context.aborted:
                # Raised by hand, without context.abort(): a call must not stay open for it.
                context.fail(error)
        except asyncio.CancelledError:
            if not call.finished:
                # The handler was cancelled from within; grpc.aio reports it as CANCELLED as well.
                call.finish(grpc.StatusCode.CANCELLED, "RPC cancelled.", context.trailing_metadata())
            raise
        except RemoteProtocolError as error:
            call.finish(error.code, error.details, context.trailing_metadata())
        except aio.UsageError as error:
            if not call.finished:
                context.fail(error)
        except BaseException as error:
            # Every kind, such as the BaseExceptionGroup of a TaskGroup: whatever it is, the client waits for an answer.
            _LOGGER.exception("Unexpected [%s] raised by servicer method [%s]", type(error).__name__, call.head.method)
            context.fail(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise

    async def _resolve(self, call: ServerCall) -> MethodPlan | None:
        details = HandlerCallDetails(call.head.method, tuple(Metadatum(key, value) for key, value in call.head.metadata))
        handler = self.handlers.find(details) if self._find is None else await self._find(details)
        return None if handler is None else plan(handler)

    async def _run(self, call: ServerCall, context: ServicerContext, method: MethodPlan) -> None:
        function: Callable[..., Any] = method.function
        if method.request_streaming:
            request: Any = RequestIterator(context)
        else:
            request = context.deserialized(await self._single_message(call))
        if not method.is_async:
            await sync_handlers.run(self._loop, self._thread_pool, method, request, context)
            return
        if not method.response_streaming:
            response = await function(request, context)
            context.raise_for_termination()
            payload = None
            if context.code() == 0:
                payload = response if method.serialize is None else method.serialize(response)
            context.finish(payload)
            return
        responses = function(request, context)
        if hasattr(responses, "__aiter__"):
            try:
                async for message in responses:
                    await context.write(message)
            finally:
                if hasattr(responses, "aclose"):
                    await responses.aclose()
        else:
            await responses
        context.raise_for_termination()
        context.finish(None)

    async def _single_message(self, call: ServerCall) -> bytes:
        message = await call.next_message()
        if message is None:
            raise RemoteProtocolError(grpc.StatusCode.UNIMPLEMENTED, "no request message on a method that takes one")
        if (not call.request_ended and await call.next_message() is not None) or call.messages:
            raise RemoteProtocolError(grpc.StatusCode.UNIMPLEMENTED, "more than one request message on a method that takes one")
        return message


_Continuation = Callable[[Any], Awaitable[Any]]


def _chain(interceptors: Sequence[aio.ServerInterceptor], handlers: HandlerTable) -> _Continuation:
    async def find(details: Any) -> Any:
        return handlers.find(details)

    chain: _Continuation = find
    for interceptor in reversed(interceptors):
        chain = _link(interceptor, chain)
    return chain


def _link(interceptor: aio.ServerInterceptor, continuation: _Continuation) -> _Continuation:
    async def intercept(details: Any) -> Any:
        return await interceptor.intercept_service(continuation, details)

    return intercept
