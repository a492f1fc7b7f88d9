from __future__ import annotations

import logging
import re

import grpc
import grpc.aio
import pytest

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.security.redaction import RedactErrors

SECRET = "password=hunter2"


class Broken(echo_pb2_grpc.EchoServicer):
    async def Unary(self, request, context):
        if request.body == b"abort":
            await context.abort(grpc.StatusCode.ABORTED, "meant for the client")
        raise RuntimeError(SECRET)

    async def Stream(self, request, context):
        yield EchoMessage(body=b"first")
        raise RuntimeError(SECRET)

    async def Bidi(self, request_iterator, context):
        await context.write(EchoMessage(body=b"first"))
        raise RuntimeError(SECRET)

    async def Collect(self, request_iterator, context):
        raise RuntimeError(SECRET)


@pytest.fixture
async def stub(serve):
    channel = await serve(lambda server: echo_pb2_grpc.add_EchoServicer_to_server(Broken(), server), RedactErrors())
    return echo_pb2_grpc.EchoStub(channel)


async def unary(stub):
    await stub.Unary(EchoMessage())


async def stream(stub):
    call = stub.Stream(EchoMessage())
    assert (await call.read()).body == b"first"
    await call.read()


async def bidi(stub):
    call = stub.Bidi()
    await call.done_writing()
    assert (await call.read()).body == b"first"
    await call.read()


async def collect(stub):
    await stub.Collect(iter(()))


@pytest.mark.parametrize("call", [unary, stream, bidi, collect])
async def test_the_client_gets_an_id_and_the_log_the_exception(stub, call, caplog):
    with caplog.at_level(logging.ERROR, "quicrpc.services"), pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    number = re.fullmatch(r"internal error, id ([0-9a-f]{8})", caught.value.details()).group(1)
    (record,) = (record for record in caplog.records if number in record.getMessage())
    assert SECRET in str(record.exc_info[1])
    assert "/echo.Echo/" in record.getMessage()


async def test_a_handlers_own_status_passes(stub, caplog):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Unary(EchoMessage(body=b"abort"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "meant for the client")
    assert not caplog.records


async def test_an_unknown_method_is_left_alone(serve):
    channel = await serve(lambda server: None, RedactErrors())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/echo.Echo/Unary")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
