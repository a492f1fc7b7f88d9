"""grpc.aio's behaviour on both transports: every test here runs over HTTP/3 and over grpcio's HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

import quicrpc.aio
from quicrpc.gen.echo import echo_pb2, echo_pb2_grpc

Message = echo_pb2.EchoMessage
Stub: Any = echo_pb2_grpc.EchoStub


class Servicer(echo_pb2_grpc.EchoServicer):
    """Does what the request's body says."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.metadata: list[tuple[str, Any]] = []
        self.seen: Any = None

    async def Unary(self, request: Any, context: Any) -> Any:
        self.began.set()
        # Here and not in the test: grpcio's context must not be asked anything once its call is over.
        self.metadata = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]
        match request.body:
            case b"metadata":
                await context.send_initial_metadata((("initial", "1"), ("initial", "2"), ("initial-bin", b"\x00\xff")))
                context.set_trailing_metadata((("trailing", "t"), ("trailing-bin", b"\x01")))
            case b"abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e9\u4e16 100%\n", (("why", "because"),))
            case b"raise":
                raise ValueError("oops")
            case b"code":
                context.set_code(grpc.StatusCode.DATA_LOSS)
                context.set_details("lost")
            case b"wait":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
            case b"timeout":
                return Message(body=str(context.time_remaining()).encode())
            case b"gzip":
                context.set_compression(grpc.Compression.Gzip)
                return Message(body=b"z" * 10_000)
            case b"peer":
                self.seen = (context.peer(), dict(context.auth_context()), context.peer_identities(), context.peer_identity_key())
            case b"tools":
                # What needs a real task around it.
                async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                    task = group.create_task(asyncio.sleep(0, b"done"))
                assert asyncio.current_task() is not None
                return Message(body=task.result())
        return request

    async def Stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.body == b"abort":
            yield Message(body=b"one")
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "enough")
        for number in range(request.count or 3):
            yield Message(body=b"%d" % number)

    async def Bidi(self, request_iterator: Any, context: Any) -> None:
        # The read/write style; Stream above has the generator style.
        while (message := await context.read()) is not aio.EOF:
            if message.body == b"raise":
                raise RuntimeError("bidi")
            await context.write(message)


def upload_handler() -> grpc.GenericRpcHandler:
    async def count(request_iterator: AsyncIterator[bytes], context: Any) -> bytes:
        total = 0
        async for message in request_iterator:
            total += len(message)
        return b"%d" % total

    return grpc.method_handlers_generic_handler("test.Upload", {"Count": grpc.stream_unary_rpc_method_handler(count)})


@pytest.fixture
async def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def channel(start_server: Any, open_channel: Any, servicer: Servicer, transport: str) -> Any:
    port = await start_server(servicer, handlers=(upload_handler(),))
    return open_channel(port, transport)


async def test_unary(channel: Any, transport: str) -> None:
    call = Stub(channel).Unary(Message(body=b"hello"))
    assert (await call).body == b"hello"
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert quicrpc.aio.transport_of(call) == transport
    assert isinstance(call, aio.UnaryUnaryCall)
    assert isinstance(channel, aio.Channel)


async def test_server_stream_as_iterator(channel: Any) -> None:
    call = Stub(channel).Stream(Message(count=100))
    assert [message.body async for message in call] == [b"%d" % number for number in range(100)]
    assert await call.code() is grpc.StatusCode.OK


async def test_server_stream_with_read(channel: Any) -> None:
    call = Stub(channel).Stream(Message(count=2))
    assert (await call.read()).body == b"0"
    assert (await call.read()).body == b"1"
    assert await call.read() is aio.EOF
    assert await call.read() is aio.EOF


async def test_client_stream(channel: Any) -> None:
    method = channel.stream_unary("/test.Upload/Count")

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1000

    assert await method(requests()) == b"50000"
    assert await method(iter(())) == b"0"
    call = method()
    for _ in range(3):
        await call.write(b"12345")
    await call.done_writing()
    assert await call == b"15"


async def test_bidi_as_iterators(channel: Any) -> None:
    async def requests() -> AsyncIterator[Any]:
        for number in range(20):
            yield Message(body=b"%d" % number)

    assert [message.body async for message in Stub(channel).Bidi(requests())] == [b"%d" % number for number in range(20)]


async def test_bidi_with_read_and_write(channel: Any) -> None:
    call = Stub(channel).Bidi()
    for text in (b"a", b"b"):
        await call.write(Message(body=text))
        assert (await call.read()).body == text
    await call.done_writing()
    assert await call.read() is aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_styles_may_not_be_mixed(channel: Any) -> None:
    call = Stub(channel).Bidi(iter(()))
    with pytest.raises(aio.UsageError):
        await call.write(Message())
    call.cancel()


async def test_a_server_that_only_half_listens_ends_the_call(channel: Any) -> None:
    call = Stub(channel).Bidi()
    await call.write(Message(body=b"raise"))
    with pytest.raises(aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.UNKNOWN
    assert raised.value.details() == "Unexpected <class 'RuntimeError'>: bidi"


async def test_metadata(channel: Any, servicer: Servicer) -> None:
    sent = (("one", "1"), ("two", "a"), ("two", "b"), ("three-bin", bytes(range(256))))
    call = Stub(channel).Unary(Message(body=b"metadata"), metadata=sent)
    await call
    assert servicer.metadata == list(sent)
    initial = await call.initial_metadata()
    assert list(initial.get_all("initial")) == ["1", "2"]
    assert initial["initial-bin"] == b"\x00\xff"
    trailing = await call.trailing_metadata()
    assert trailing["trailing"] == "t"
    assert trailing["trailing-bin"] == b"\x01"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        (((42, "x"),), TypeError),
        ((("normal", object()),), TypeError),
        ((("Upper", "x"),), aio.InternalError),
        ((("nul", "\x00"),), aio.InternalError),
    ],
)
async def test_illegal_metadata_is_refused(channel: Any, metadata: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await Stub(channel).Unary(Message(), metadata=metadata)


async def test_abort(channel: Any) -> None:
    call = Stub(channel).Unary(Message(body=b"abort"))
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "no such thing: \u00e9\u4e16 100%\n"
    trailing = raised.value.trailing_metadata()
    assert trailing is not None
    assert trailing["why"] == "because"
    assert await call.code() is grpc.StatusCode.NOT_FOUND


async def test_abort_after_a_message(channel: Any) -> None:
    call = Stub(channel).Stream(Message(body=b"abort"))
    assert (await call.read()).body == b"one"
    with pytest.raises(aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_exception_in_a_handler(channel: Any) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(body=b"raise"))
    assert raised.value.code() is grpc.StatusCode.UNKNOWN
    assert raised.value.details() == "Unexpected <class 'ValueError'>: oops"


async def test_code_set_by_the_handler(channel: Any) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(body=b"code"))
    assert raised.value.code() is grpc.StatusCode.DATA_LOSS
    assert raised.value.details() == "lost"


async def test_unknown_method(channel: Any) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await channel.unary_unary("/echo.Echo/Nothing")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert raised.value.details() == "Method not found!"


async def test_deadline(channel: Any, servicer: Servicer) -> None:
    call = Stub(channel).Unary(Message(body=b"wait"), timeout=0.3)
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert raised.value.details() == "Deadline Exceeded"
    await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_time_remaining(channel: Any) -> None:
    call = Stub(channel).Unary(Message(body=b"timeout"), timeout=30)
    assert 0 < call.time_remaining() <= 30
    assert 0 < float((await call).body) <= 30
    assert (await Stub(channel).Unary(Message(body=b"timeout"))).body == b"None"


async def test_client_cancellation_reaches_the_handler(channel: Any, servicer: Servicer) -> None:
    call = Stub(channel).Unary(Message(body=b"wait"))
    done: list[Any] = []
    call.add_done_callback(done.append)
    await asyncio.wait_for(servicer.began.wait(), 5)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert call.done()
    assert done == [call]
    assert not call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_cancelled_task_cancels_the_call(channel: Any, servicer: Servicer) -> None:
    async def run() -> None:
        await Stub(channel).Unary(Message(body=b"wait"))

    task = asyncio.create_task(run())
    await asyncio.wait_for(servicer.began.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(servicer.cancelled.wait(), 5)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip])
async def test_compressed_request(channel: Any, compression: Any) -> None:
    body = b"compress me " * 1000
    assert (await Stub(channel).Unary(Message(body=body), compression=compression)).body == body


async def test_compressed_response(channel: Any) -> None:
    assert (await Stub(channel).Unary(Message(body=b"gzip"))).body == b"z" * 10_000


async def test_asyncio_tools_work_in_a_handler(channel: Any) -> None:
    assert (await Stub(channel).Unary(Message(body=b"tools"))).body == b"done"


async def test_context_of_a_plain_client(channel: Any, servicer: Servicer) -> None:
    await Stub(channel).Unary(Message(body=b"peer"))
    peer, auth_context, identities, key = servicer.seen
    assert peer.startswith("ipv4:127.0.0.1:")
    assert auth_context["transport_security_type"] == [b"ssl"]
    assert not identities
    assert key is None


async def test_large_message(channel: Any) -> None:
    body = bytes(range(256)) * 12_000
    assert (await Stub(channel).Unary(Message(body=body))).body == body


async def test_message_over_the_servers_limit(channel: Any) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(body=b"x" * 4_200_000))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(raised.value.details())


async def test_response_over_the_channels_limit(start_server: Any, open_channel: Any, servicer: Servicer, transport: str) -> None:
    channel = open_channel(await start_server(servicer), transport, options=[("grpc.max_receive_message_length", 100)])
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(body=b"x" * 200))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_request_over_the_channels_own_limit(
    start_server: Any, open_channel: Any, servicer: Servicer, transport: str
) -> None:
    channel = open_channel(await start_server(servicer), transport, options=[("grpc.max_send_message_length", 100)])
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(body=b"x" * 200))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_many_calls_at_once(channel: Any) -> None:
    stub = Stub(channel)
    bodies = [b"%d" % number for number in range(500)]
    answers = await asyncio.gather(*(stub.Unary(Message(body=body)) for body in bodies))
    assert [answer.body for answer in answers] == bodies


async def test_channel_at_the_stream_limit_queues(start_server: Any, open_channel: Any, servicer: Servicer) -> None:
    # Over HTTP/3 only: grpcio's channel does not know the limit when it begins, and has the excess refused.
    port = await start_server(servicer, options=[("grpc.max_concurrent_streams", 4)])
    stub = Stub(open_channel(port, "h3"))
    answers = await asyncio.gather(*(stub.Unary(Message(body=b"%d" % number)) for number in range(100)))
    assert [answer.body for answer in answers] == [b"%d" % number for number in range(100)]


async def test_call_credentials(channel: Any, servicer: Servicer, transport: str) -> None:
    await Stub(channel).Unary(Message(), credentials=grpc.access_token_call_credentials("secret"))
    assert ("authorization", "Bearer secret") in servicer.metadata


async def test_composite_channel_credentials(
    start_server: Any, open_channel: Any, servicer: Servicer, transport: str, channel_credentials: Any
) -> None:
    class Plugin(grpc.AuthMetadataPlugin):
        def __call__(self, context: Any, callback: Any) -> None:
            callback((("x-method", context.method_name), ("x-url", context.service_url)), None)

    credentials = grpc.composite_channel_credentials(channel_credentials, grpc.metadata_call_credentials(Plugin()))
    port = await start_server(servicer)
    channel = open_channel(port, transport, credentials=credentials)
    await Stub(channel).Unary(Message())
    metadata = dict(servicer.metadata)
    assert metadata["x-method"] == "Unary"
    assert metadata["x-url"].endswith("/echo.Echo")


async def test_failing_call_credentials(channel: Any) -> None:
    class Plugin(grpc.AuthMetadataPlugin):
        def __call__(self, context: Any, callback: Any) -> None:
            callback((), ValueError("no token today"))

    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(), credentials=grpc.metadata_call_credentials(Plugin()))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no token today" in str(raised.value.details())


async def test_sync_handlers_run_in_a_thread(start_server: Any, open_channel: Any, transport: str) -> None:
    class Blocking(echo_pb2_grpc.EchoServicer):
        def Unary(self, request: Any, context: Any) -> Any:
            if request.body == b"abort":
                context.abort(grpc.StatusCode.ABORTED, "from a thread")
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            context.set_trailing_metadata((("thread", "yes"),))
            return request

        def Stream(self, request: Any, context: Any) -> Any:
            for number in range(5):
                yield Message(body=b"%d" % number)

    stub = Stub(open_channel(await start_server(Blocking()), transport))
    call = stub.Unary(Message(body=b"sync"))
    assert (await call).body == b"sync"
    assert (await call.trailing_metadata())["thread"] == "yes"
    assert [message.body async for message in stub.Stream(Message())] == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(aio.AioRpcError) as raised:
        await stub.Unary(Message(body=b"abort"))
    assert raised.value.code() is grpc.StatusCode.ABORTED


async def test_server_interceptors_see_every_call(start_server: Any, open_channel: Any, servicer: Servicer, transport: str) -> None:
    seen: list[str] = []

    class Log(aio.ServerInterceptor):
        def __init__(self, name: str) -> None:
            self.name = name

        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(f"{self.name} {details.method}")
            return await continuation(details)

    class Deny(aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            if dict(tuple(entry) for entry in details.invocation_metadata).get("deny"):

                async def refuse(request: Any, context: Any) -> None:
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

                return grpc.unary_unary_rpc_method_handler(refuse)
            return await continuation(details)

    port = await start_server(servicer, interceptors=[Log("a"), Log("b"), Deny()])
    stub = Stub(open_channel(port, transport))
    assert (await stub.Unary(Message(body=b"x"))).body == b"x"
    assert seen == ["a /echo.Echo/Unary", "b /echo.Echo/Unary"]
    with pytest.raises(aio.AioRpcError) as raised:
        await stub.Unary(Message(), metadata=(("deny", "1"),))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [message.body async for message in stub.Stream(Message(count=2))] == [b"0", b"1"]


async def test_client_interceptors(start_server: Any, open_channel: Any, servicer: Servicer, transport: str) -> None:
    class AddMetadata(aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            details.metadata.add("added", "yes")
            return await continuation(details, request)

    class Count(aio.StreamStreamClientInterceptor):
        calls = 0

        async def intercept_stream_stream(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
            Count.calls += 1
            return await continuation(details, request_iterator)

    channel = open_channel(await start_server(servicer), transport, interceptors=[AddMetadata(), Count()])
    call = Stub(channel).Unary(Message(body=b"x"))
    await call
    assert quicrpc.aio.transport_of(call) == transport
    assert ("added", "yes") in servicer.metadata
    assert [message.body async for message in Stub(channel).Bidi(iter([Message(body=b"1")]))] == [b"1"]
    assert Count.calls == 1


async def test_maximum_concurrent_rpcs(start_server: Any, open_channel: Any, servicer: Servicer, transport: str) -> None:
    stub = Stub(open_channel(await start_server(servicer, maximum_concurrent_rpcs=1), transport))
    waiting = stub.Unary(Message(body=b"wait"))
    await asyncio.wait_for(servicer.began.wait(), 5)
    with pytest.raises(aio.AioRpcError) as raised:
        await stub.Unary(Message())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "Concurrent RPC limit exceeded!"
    waiting.cancel()


async def test_connectivity(channel: Any) -> None:
    state = grpc.ChannelConnectivity
    assert channel.get_state() is state.IDLE
    await asyncio.wait_for(channel.channel_ready(), 10)
    assert channel.get_state() is state.READY
    await channel.close()
    assert channel.get_state() is state.SHUTDOWN
    with pytest.raises(aio.UsageError):
        await Stub(channel).Unary(Message())


async def test_closing_a_channel_cancels_its_calls(channel: Any, servicer: Servicer) -> None:
    call = Stub(channel).Unary(Message(body=b"wait"))
    await asyncio.wait_for(servicer.began.wait(), 5)
    await channel.close()
    assert call.cancelled()
    await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_bytes_without_serializers(channel: Any) -> None:
    raw = Message(body=b"raw").SerializeToString()
    assert await channel.unary_unary("/echo.Echo/Unary")(raw) == raw
