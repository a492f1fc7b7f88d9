"""Server interceptors that are decided once for each method, not once for each call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

__all__ = ["MethodInterceptor", "behaviour_of", "with_behaviour"]

#: Wrapped handlers kept: a generic handler may serve any path a client thinks of.
_MAX_KEPT = 4096

_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def behaviour_of(handler: Any) -> Callable[..., Any]:
    """Return the servicer's function in a ``grpc.RpcMethodHandler``."""
    behaviour: Callable[..., Any] = getattr(handler, _KINDS[2 * bool(handler.request_streaming) + bool(handler.response_streaming)])
    return behaviour


def with_behaviour(handler: Any, behaviour: Callable[..., Any]) -> Any:
    """Return a handler of the same kind and messages with another function."""
    kind = _KINDS[2 * bool(handler.request_streaming) + bool(handler.response_streaming)]
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(behaviour, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer)


class MethodInterceptor(aio.ServerInterceptor):
    """An interceptor that wraps a method's function and decides about a call only inside it, with its context at hand.

    ``grpc.aio`` asks an interceptor for a handler at every call. What depends on the method alone need not be asked again: our own
    server wraps each registered method once, and for grpcio's the wrapped handler is kept.
    """

    @abstractmethod
    def wrap(self, path: str, handler: Any) -> Any:
        """Return the handler that serves ``path`` instead of ``handler``."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap what the continuation finds; see ``grpc.aio.ServerInterceptor``."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        # One entry for each method: a continuation that makes a new handler at every call only replaces it.
        kept: dict[str, tuple[Any, Any]] = self.__dict__.setdefault("_kept", {})
        entry = kept.get(path)
        if entry is None or entry[0] is not handler:
            if len(kept) >= _MAX_KEPT:
                kept.clear()
            entry = kept[path] = (handler, self.wrap(path, handler))
        return entry[1]
