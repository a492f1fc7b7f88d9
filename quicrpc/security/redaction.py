"""Keeps the text of unexpected exceptions from clients."""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc
from grpc import aio

from quicrpc.rpc.interceptor import MethodInterceptor, behaviour_of, with_behaviour

__all__ = ["RedactErrors"]

_LOGGER = logging.getLogger(__name__)


class RedactErrors(MethodInterceptor):
    """Ends a call whose handler raised with INTERNAL ``internal error, id XXXXXXXX`` and logs the exception under that id.

    A handler's own ``abort`` and cancellation pass. Handlers that are not ``async`` run elsewhere and are left as they are.
    """

    def wrap(self, path: str, handler: Any) -> Any:
        """Return ``handler`` with its exceptions redacted."""
        behaviour = behaviour_of(handler)
        if inspect.isasyncgenfunction(behaviour):
            return with_behaviour(handler, _guarded_generator(behaviour, path))
        if inspect.iscoroutinefunction(behaviour):
            return with_behaviour(handler, _guarded_coroutine(behaviour, path))
        return handler


def _guarded_generator(behaviour: Callable[..., Any], path: str) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        responses = behaviour(request, context)
        try:
            async for response in responses:
                yield response
        except aio.AbortError:
            raise
        except Exception as error:
            await _report(error, context, path)
        finally:
            await responses.aclose()

    return guarded


def _guarded_coroutine(behaviour: Callable[..., Any], path: str) -> Callable[..., Any]:
    async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await behaviour(request, context)
        except aio.AbortError:
            raise
        except Exception as error:
            await _report(error, context, path)

    return guarded


async def _report(error: Exception, context: aio.ServicerContext[Any, Any], path: str) -> NoReturn:
    number = secrets.token_hex(4)
    _LOGGER.error("internal error, id %s, in %s", number, path, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"internal error, id {number}")
    raise AssertionError("abort always raises")
