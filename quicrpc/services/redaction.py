"""Keeps the text of unexpected exceptions from clients."""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

__all__ = ["RedactErrors"]

_log = logging.getLogger("quicrpc.services")

_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class RedactErrors(grpc.aio.ServerInterceptor):
    """Ends a call whose handler raised with INTERNAL ``internal error, id XXXXXXXX`` and logs the exception under that id.

    A handler's own ``abort`` and cancellation pass. Handlers that are not ``async`` run elsewhere and are left as they are.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        kind = _KINDS[2 * bool(handler.request_streaming) + bool(handler.response_streaming)]
        guarded = _guard(getattr(handler, kind), getattr(handler_call_details, "method", ""))
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(
            guarded, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
        return made


def _guard(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        async def guarded_generator(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with _redacted(context, method):
                async for response in behaviour(request, context):
                    yield response

        return guarded_generator

    if inspect.iscoroutinefunction(behaviour):

        async def guarded_coroutine(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _redacted(context, method):
                return await behaviour(request, context)

        return guarded_coroutine

    return behaviour


@asynccontextmanager
async def _redacted(context: grpc.aio.ServicerContext[Any, Any], method: str) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        number = secrets.token_hex(4)
        _log.error("internal error, id %s, in %s", number, method, exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, f"internal error, id {number}")
