"""``google.rpc.Status`` through grpcio-status, over both transports."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.security.redaction import RedactErrors


def rich_status() -> status_pb2.Status:
    violation = error_details_pb2.BadRequest.FieldViolation(field="body", description="must not be empty: ∅")
    details = [Any(), Any()]
    details[0].Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    details[1].Pack(error_details_pb2.RetryInfo())
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="bad request: ∅\n100 %", details=details)


class Strict(echo_pb2_grpc.EchoServicer):
    async def Unary(self, request, context):
        if not request.body:
            await context.abort_with_status(rpc_status.to_status(rich_status()))
        return request

    async def Stream(self, request, context):
        yield EchoMessage(body=b"first")
        await context.abort_with_status(rpc_status.to_status(rich_status()))


@pytest.fixture(params=[(), (RedactErrors(),)], ids=["plain", "redacting"])
async def stub(serve, request):
    channel = await serve(lambda server: echo_pb2_grpc.add_EchoServicer_to_server(Strict(), server), *request.param)
    return echo_pb2_grpc.EchoStub(channel)


async def test_unary_call(stub):
    call = stub.Unary(EchoMessage())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert rpc_status.from_call(caught.value) == rich_status()
    assert await rpc_status.aio.from_call(call) == rich_status()


async def test_after_a_message(stub):
    call = stub.Stream(EchoMessage())
    assert (await call.read()).body == b"first"
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert await rpc_status.aio.from_call(call) == rich_status()


async def test_a_call_without_one(stub):
    call = stub.Unary(EchoMessage(body=b"x"))
    await call
    assert await rpc_status.aio.from_call(call) is None
