"""From a path to the function that serves it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc

from quicrpc.rpc.interceptor import MethodInterceptor

__all__ = ["HandlerCallDetails", "HandlerTable", "Metadatum", "MethodPlan", "plan"]


class Metadatum(NamedTuple):
    """One metadata entry, as grpcio shows it to handlers."""

    key: str
    value: str | bytes


class HandlerCallDetails(grpc.HandlerCallDetails):
    """What generic handlers and interceptors see of a call.

    Attributes:
        method: The path, ``/package.Service/Method``.
        invocation_metadata: Entries the client sent.
    """

    def __init__(self, method: str, invocation_metadata: tuple[Metadatum, ...]) -> None:
        self.method = method
        self.invocation_metadata = invocation_metadata


class MethodPlan(NamedTuple):
    """A handler with everything about it that does not change from call to call.

    Attributes:
        request_streaming, response_streaming: The kind of the method.
        function: The servicer's function: ``(request or request iterator, context)``.
        deserialize: Bytes -> request; None keeps the bytes.
        serialize: Response -> bytes; None takes bytes.
        is_async: The function runs on the event loop; otherwise in a thread.
    """

    request_streaming: bool
    response_streaming: bool
    function: Callable[..., Any]
    deserialize: Callable[[bytes], Any] | None
    serialize: Callable[[Any], bytes] | None
    is_async: bool


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return True
    call = getattr(function, "__call__", None)  # noqa: B004  # not asking whether it is callable: an instance may have an async __call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def plan(handler: Any) -> MethodPlan:
    """Examine a ``grpc.RpcMethodHandler``."""
    if handler.request_streaming:
        function = handler.stream_stream if handler.response_streaming else handler.stream_unary
    else:
        function = handler.unary_stream if handler.response_streaming else handler.unary_unary
    return MethodPlan(
        handler.request_streaming,
        handler.response_streaming,
        function,
        handler.request_deserializer,
        handler.response_serializer,
        _is_async(function),
    )


class HandlerTable:
    """Every handler registered with a server, in grpcio's order: registered methods first, then generic handlers."""

    def __init__(self) -> None:
        self._registered: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._plans: dict[str, MethodPlan] = {}
        self._interceptors: tuple[MethodInterceptor, ...] = ()

    def wrap_with(self, interceptors: Sequence[MethodInterceptor]) -> None:
        """Put ``interceptors``, outermost first, around every handler found from now on."""
        self._interceptors = tuple(interceptors)
        self._plans = {path: plan(self._wrapped(path, handler)) for path, handler in self._registered.items()}

    def _wrapped(self, path: str, handler: Any) -> Any:
        for interceptor in reversed(self._interceptors):
            handler = interceptor.wrap(path, handler)
        return handler

    def add_registered(self, service_name: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Register the methods of one service by name."""
        for method, handler in handlers.items():
            path = f"/{service_name}/{method}"
            self._registered[path] = handler
            self._plans[path] = plan(self._wrapped(path, handler))

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Register generic handlers, asked in order."""
        for handler in handlers:
            if not hasattr(handler, "service"):
                raise AttributeError(f'"{handler}" must have "service" method!')
            self._generic.append(handler)

    def known_plan(self, path: str) -> MethodPlan | None:
        """Return the plan of a registered method without asking generic handlers."""
        return self._plans.get(path)

    def paths(self) -> list[str]:
        """Return the paths of the registered methods."""
        return list(self._registered)

    def find(self, details: HandlerCallDetails) -> Any:
        """Return the handler of a call, or None."""
        handler = self._registered.get(details.method)
        if handler is not None:
            return self._wrapped(details.method, handler)
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return self._wrapped(details.method, handler)
        return None
