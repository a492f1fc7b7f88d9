from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import DESCRIPTOR, EchoMessage
from quicrpc.services.echo.handlers import Echo


@pytest.fixture
async def stub(serve):
    channel = await serve(lambda server: echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server))
    return echo_pb2_grpc.EchoStub(channel)


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 4096], ids=["empty", "one byte", "1 MiB"])
async def test_unary_returns_the_body(stub, body):
    assert (await stub.Unary(EchoMessage(body=body))).body == body


async def test_stream_repeats_the_body(stub):
    assert [message.body async for message in stub.Stream(EchoMessage(body=b"x", count=3))] == [b"x"] * 3


async def test_stream_makes_bodies_of_a_size(stub):
    assert [message.body async for message in stub.Stream(EchoMessage(body=b"x", size=4))] == [bytes(4)]


@pytest.mark.parametrize("request_message", [EchoMessage(count=1_000_001), EchoMessage(size=4_000_001)], ids=["count", "size"])
async def test_stream_refuses_to_make_too_much(stub, request_message):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Stream(request_message).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_bidi_answers_each_message_before_the_next(stub):
    call = stub.Bidi()
    for number in range(20):
        await call.write(EchoMessage(body=b"%d" % number))
        assert (await call.read()).body == b"%d" % number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_collect_counts(stub):
    response = await stub.Collect(EchoMessage(body=bytes(size)) for size in range(5))
    assert (response.count, response.size) == (5, 10)


async def test_calls_in_flight_are_not_mixed_up(stub):
    bodies = [b"%d" % number for number in range(200)]
    responses = await asyncio.gather(*(stub.Unary(EchoMessage(body=body)) for body in bodies))
    assert [response.body for response in responses] == bodies


def test_only_methods_that_may_be_replayed_are_marked_so():
    methods = DESCRIPTOR.services_by_name["Echo"].methods
    marked = {method.name for method in methods if method.GetOptions().idempotency_level == 1}
    assert marked == {"Unary", "Stream"}
