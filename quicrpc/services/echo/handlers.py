"""``echo.Echo``. See proto/echo/echo.proto for what each method does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage

__all__ = ["Echo"]

#: A few minutes of one core: what a single small request may ask for.
_MAX_COUNT = 1_000_000
#: Leaves room for the message's other bytes under gRPC's default limit of 4 MiB.
_MAX_SIZE_BYTES = 4_000_000

_Context = grpc.aio.ServicerContext[Any, Any]


class Echo(echo_pb2_grpc.EchoServicer):
    """The servicer. It has no state."""

    async def Unary(self, request: EchoMessage, context: _Context) -> EchoMessage:
        return request

    async def Stream(self, request: EchoMessage, context: _Context) -> AsyncIterator[EchoMessage]:
        if request.count > _MAX_COUNT or request.size > _MAX_SIZE_BYTES:
            limits = f"count is at most {_MAX_COUNT} and size at most {_MAX_SIZE_BYTES}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, limits)
        response = EchoMessage(body=bytes(request.size) if request.size else request.body)
        for _ in range(request.count or 1):
            yield response

    async def Bidi(self, request_iterator: AsyncIterator[EchoMessage], context: _Context) -> AsyncIterator[EchoMessage]:
        async for request in request_iterator:
            yield EchoMessage(body=request.body)

    async def Collect(self, request_iterator: AsyncIterator[EchoMessage], context: _Context) -> EchoMessage:
        count = size = 0
        async for request in request_iterator:
            count += 1
            size += len(request.body)
        return EchoMessage(count=count, size=size)
