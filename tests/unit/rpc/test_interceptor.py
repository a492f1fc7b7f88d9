from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from quicrpc.rpc.interceptor import MethodInterceptor, behaviour_of, with_behaviour

MAKERS = [
    grpc.unary_unary_rpc_method_handler,
    grpc.unary_stream_rpc_method_handler,
    grpc.stream_unary_rpc_method_handler,
    grpc.stream_stream_rpc_method_handler,
]


class Wrapping(MethodInterceptor):
    def __init__(self) -> None:
        self.wrapped: list[str] = []

    def wrap(self, path: str, handler: Any) -> Any:
        self.wrapped.append(path)
        return with_behaviour(handler, lambda request, context: ("wrapped", behaviour_of(handler)))


@pytest.mark.parametrize("make", MAKERS)
def test_with_behaviour_keeps_kind_and_messages(make: Any) -> None:
    handler = make(len, request_deserializer=str, response_serializer=bytes)
    changed = with_behaviour(handler, abs)
    assert behaviour_of(changed) is abs
    assert (changed.request_streaming, changed.response_streaming) == (handler.request_streaming, handler.response_streaming)
    assert (changed.request_deserializer, changed.response_serializer) == (str, bytes)


async def ask(interceptor: MethodInterceptor, path: str, handler: Any) -> Any:
    async def continuation(details: Any) -> Any:
        return handler

    return await interceptor.intercept_service(continuation, SimpleNamespace(method=path))


async def test_a_method_is_wrapped_once() -> None:
    interceptor = Wrapping()
    handler = grpc.unary_unary_rpc_method_handler(len)
    first = await ask(interceptor, "/a/B", handler)
    assert await ask(interceptor, "/a/B", handler) is first
    assert first.unary_unary(None, None) == ("wrapped", len)
    assert interceptor.wrapped == ["/a/B"]
    await ask(interceptor, "/a/B", grpc.unary_unary_rpc_method_handler(abs))
    assert interceptor.wrapped == ["/a/B", "/a/B"]
    assert await ask(interceptor, "/a/C", None) is None


async def test_what_is_kept_is_bounded() -> None:
    interceptor = Wrapping()
    handler = grpc.unary_unary_rpc_method_handler(len)
    for number in range(10_000):
        await ask(interceptor, f"/a/{number}", handler)
    assert len(vars(interceptor)["_kept"]) <= 4096
