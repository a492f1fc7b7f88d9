"""``grpc.testing.TestService``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from quicrpc.gen.testing import messages_pb2, test_pb2_grpc
from quicrpc.gen.testing.empty_pb2 import Empty

__all__ = ["ECHO_INITIAL_KEY", "ECHO_TRAILING_KEY", "TestService"]

ECHO_INITIAL_KEY = "x-grpc-test-echo-initial"
ECHO_TRAILING_KEY = "x-grpc-test-echo-trailing-bin"

_Output = messages_pb2.StreamingOutputCallResponse


async def _echo_metadata(context: Any) -> None:
    received = context.invocation_metadata()
    initial = tuple((key, value) for key, value in received if key == ECHO_INITIAL_KEY)
    if initial:
        await context.send_initial_metadata(initial)
    context.set_trailing_metadata(tuple((key, value) for key, value in received if key == ECHO_TRAILING_KEY))


async def _echo_status(request: Any, context: Any) -> None:
    if request.HasField("response_status"):
        await context.abort(request.response_status.code, request.response_status.message, context.trailing_metadata())


class _CompressionCheck:
    """Compares what the client says of each message with what arrived; grpcio's own context cannot tell, and then all is well."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._count = getattr(context, "compressed_requests", None)
        self._before = 0

    async def check(self, request: Any) -> None:
        """End the call with INVALID_ARGUMENT unless ``request`` came as it says."""
        if self._count is None:
            return
        count = self._count()
        was_compressed, self._before = count > self._before, count
        if request.HasField("expect_compressed") and request.expect_compressed.value != was_compressed:
            await self._context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"the message was {'' if was_compressed else 'not '}compressed"
            )


def _payload(size: int) -> messages_pb2.Payload:
    return messages_pb2.Payload(body=bytes(size))


class TestService(test_pb2_grpc.TestServiceServicer):
    """The servicer."""

    __test__ = False  # not a test, whatever pytest makes of its name

    async def EmptyCall(self, request: Empty, context: Any) -> Empty:
        return request

    async def UnaryCall(self, request: messages_pb2.SimpleRequest, context: Any) -> messages_pb2.SimpleResponse:
        await _CompressionCheck(context).check(request)
        if request.HasField("response_compressed"):
            compressed = request.response_compressed.value
            context.set_compression(grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression)
        await _echo_metadata(context)
        await _echo_status(request, context)
        return messages_pb2.SimpleResponse(payload=_payload(request.response_size))

    async def StreamingOutputCall(
        self, request: messages_pb2.StreamingOutputCallRequest, context: Any
    ) -> AsyncIterator[messages_pb2.StreamingOutputCallResponse]:
        if any(parameters.compressed.value for parameters in request.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        await _echo_status(request, context)
        async for response in self._responses(request, context):
            yield response

    async def StreamingInputCall(
        self, request_iterator: AsyncIterator[messages_pb2.StreamingInputCallRequest], context: Any
    ) -> messages_pb2.StreamingInputCallResponse:
        check = _CompressionCheck(context)
        size = 0
        async for request in request_iterator:
            await check.check(request)
            size += len(request.payload.body)
        return messages_pb2.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(
        self, request_iterator: AsyncIterator[messages_pb2.StreamingOutputCallRequest], context: Any
    ) -> AsyncIterator[messages_pb2.StreamingOutputCallResponse]:
        await _echo_metadata(context)
        async for request in request_iterator:
            await _echo_status(request, context)
            async for response in self._responses(request, context):
                yield response

    async def HalfDuplexCall(
        self, request_iterator: AsyncIterator[messages_pb2.StreamingOutputCallRequest], context: Any
    ) -> AsyncIterator[messages_pb2.StreamingOutputCallResponse]:
        for request in [request async for request in request_iterator]:
            async for response in self._responses(request, context):
                yield response

    async def UnimplementedCall(self, request: Empty, context: Any) -> Empty:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        return request

    async def _responses(
        self, request: messages_pb2.StreamingOutputCallRequest, context: Any
    ) -> AsyncIterator[messages_pb2.StreamingOutputCallResponse]:
        for parameters in request.response_parameters:
            if parameters.interval_us:
                await asyncio.sleep(parameters.interval_us / 1_000_000)
            if not parameters.compressed.value:
                context.disable_next_message_compression()
            yield _Output(payload=_payload(parameters.size))
