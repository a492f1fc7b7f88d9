"""The cases, by their standard names. Each is a function of a channel that raises CaseFailed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc import aio

from quicrpc.gen.testing import messages_pb2, test_pb2_grpc
from quicrpc.gen.testing.empty_pb2 import Empty
from quicrpc.interop.service import ECHO_INITIAL_KEY, ECHO_TRAILING_KEY

__all__ = ["CASES", "CaseFailed", "large_unary"]

_REQUEST_SIZES = (27182, 8, 1828, 45904)
_RESPONSE_SIZES = (31415, 9, 2653, 58979)
_LARGE_REQUEST, _LARGE_RESPONSE = 271828, 314159
_STATUS_MESSAGE = "test status message"
_SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"
_METADATA = ((ECHO_INITIAL_KEY, "test_initial_metadata_value"), (ECHO_TRAILING_KEY, b"\xab\xab\xab"))
_GZIP = grpc.Compression.Gzip


class CaseFailed(Exception):
    """The peer, or this client, did not do what the case asks for."""


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise CaseFailed(what)


def _equal(actual: Any, expected: Any, what: str) -> None:
    _check(actual == expected, f"{what}: {actual!r} instead of {expected!r}")


def _payload(size: int) -> messages_pb2.Payload:
    return messages_pb2.Payload(body=bytes(size))


def _output_request(sizes: Sequence[int], payload: int = 0) -> messages_pb2.StreamingOutputCallRequest:
    parameters = [messages_pb2.ResponseParameters(size=size) for size in sizes]
    return messages_pb2.StreamingOutputCallRequest(response_parameters=parameters, payload=_payload(payload))


def _stub(channel: Any) -> Any:
    return test_pb2_grpc.TestServiceStub(channel)


async def _expect_status(call: Any, code: grpc.StatusCode, details: str | None = None) -> None:
    _equal(await call.code(), code, "status")
    if details is not None:
        _equal(await call.details(), details, "status message")


async def _all(call: Any) -> list[Any]:
    return [response async for response in call]


# ---- one message each way


async def empty_unary(channel: Any) -> None:
    _equal(await _stub(channel).EmptyCall(Empty()), Empty(), "response")


async def large_unary(channel: Any, request_size: int = _LARGE_REQUEST, response_size: int = _LARGE_RESPONSE) -> None:
    request = messages_pb2.SimpleRequest(response_size=response_size, payload=_payload(request_size))
    response = await _stub(channel).UnaryCall(request)
    _equal(response.payload.body, bytes(response_size), "payload")


# ---- streams


async def client_streaming(channel: Any) -> None:
    requests = (messages_pb2.StreamingInputCallRequest(payload=_payload(size)) for size in _REQUEST_SIZES)
    response = await _stub(channel).StreamingInputCall(requests)
    _equal(response.aggregated_payload_size, sum(_REQUEST_SIZES), "aggregated size")


async def server_streaming(channel: Any) -> None:
    responses = await _all(_stub(channel).StreamingOutputCall(_output_request(_RESPONSE_SIZES)))
    _equal([len(response.payload.body) for response in responses], list(_RESPONSE_SIZES), "sizes")


async def ping_pong(channel: Any) -> None:
    call = _stub(channel).FullDuplexCall()
    for request_size, response_size in zip(_REQUEST_SIZES, _RESPONSE_SIZES, strict=True):
        await call.write(_output_request([response_size], request_size))
        _equal(len((await call.read()).payload.body), response_size, "size")
    await call.done_writing()
    _check(await call.read() is aio.EOF, "more responses than asked for")
    await _expect_status(call, grpc.StatusCode.OK)


async def empty_stream(channel: Any) -> None:
    call = _stub(channel).FullDuplexCall()
    await call.done_writing()
    _check(await call.read() is aio.EOF, "a response to nothing")
    await _expect_status(call, grpc.StatusCode.OK)


# ---- compression


def _core(call: Any) -> Any:
    # grpc.aio does not show which messages were compressed; the core call of an HTTP/3 channel does.
    return call._cython_call


def _expect_compressed(call: Any, count: int) -> None:
    compressed = getattr(_core(call), "compressed_responses", count)
    _equal(compressed, count, "compressed responses")


async def _expect_refusal(call: Any) -> None:
    try:
        await call
    except aio.AioRpcError as error:
        _equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT, "status of a message that is not compressed as it says")
    else:
        raise CaseFailed("the server does not look whether messages are compressed")


async def client_compressed_unary(channel: Any) -> None:
    def request(compressed: bool) -> messages_pb2.SimpleRequest:
        expect = messages_pb2.BoolValue(value=compressed)
        return messages_pb2.SimpleRequest(expect_compressed=expect, response_size=_LARGE_RESPONSE, payload=_payload(_LARGE_REQUEST))

    await _expect_refusal(_stub(channel).UnaryCall(request(True)))
    for compressed, compression in ((True, _GZIP), (False, None)):
        response = await _stub(channel).UnaryCall(request(compressed), compression=compression)
        _equal(len(response.payload.body), _LARGE_RESPONSE, "size")


async def server_compressed_unary(channel: Any) -> None:
    for compressed in (True, False):
        wanted = messages_pb2.BoolValue(value=compressed)
        request = messages_pb2.SimpleRequest(
            response_compressed=wanted, response_size=_LARGE_RESPONSE, payload=_payload(_LARGE_REQUEST)
        )
        call = _stub(channel).UnaryCall(request)
        _equal((await call).payload.body, bytes(_LARGE_RESPONSE), "payload")
        _expect_compressed(call, int(compressed))


async def client_compressed_streaming(channel: Any) -> None:
    def request(size: int, compressed: bool) -> messages_pb2.StreamingInputCallRequest:
        return messages_pb2.StreamingInputCallRequest(
            expect_compressed=messages_pb2.BoolValue(value=compressed), payload=_payload(size)
        )

    probe = _stub(channel).StreamingInputCall()
    await probe.write(request(27182, True))
    await probe.done_writing()
    await _expect_refusal(probe)
    call = _stub(channel).StreamingInputCall(compression=_GZIP)
    await call.write(request(27182, True))
    _core(call).disable_next_message_compression()
    await call.write(request(45904, False))
    await call.done_writing()
    _equal((await call).aggregated_payload_size, 73086, "aggregated size")


async def server_compressed_streaming(channel: Any) -> None:
    parameters = [
        messages_pb2.ResponseParameters(size=size, compressed=messages_pb2.BoolValue(value=compressed))
        for size, compressed in ((31415, True), (92653, False))
    ]
    call = _stub(channel).StreamingOutputCall(messages_pb2.StreamingOutputCallRequest(response_parameters=parameters))
    _equal([len(response.payload.body) for response in await _all(call)], [31415, 92653], "sizes")
    _expect_compressed(call, 1)


# ---- ends


async def cancel_after_begin(channel: Any) -> None:
    call = _stub(channel).StreamingInputCall()
    await asyncio.sleep(0)  # let the call begin
    call.cancel()
    await _expect_status(call, grpc.StatusCode.CANCELLED)


async def cancel_after_first_response(channel: Any) -> None:
    call = _stub(channel).FullDuplexCall()
    await call.write(_output_request([31415], 27182))
    _equal(len((await call.read()).payload.body), 31415, "size")
    call.cancel()
    await _expect_status(call, grpc.StatusCode.CANCELLED)


async def timeout_on_sleeping_server(channel: Any) -> None:
    call = _stub(channel).FullDuplexCall(timeout=0.001)
    try:
        await call.write(_output_request([31415], 27182))
        await call.read()
    except (aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the call may end before the write or during the read
    await _expect_status(call, grpc.StatusCode.DEADLINE_EXCEEDED)


async def custom_metadata(channel: Any) -> None:
    async def check(call: Any) -> None:
        _check(_METADATA[0] in [tuple(entry) for entry in await call.initial_metadata()], "initial metadata is not echoed")
        _check(_METADATA[1] in [tuple(entry) for entry in await call.trailing_metadata()], "trailing metadata is not echoed")

    request = messages_pb2.SimpleRequest(response_size=_LARGE_RESPONSE, payload=_payload(_LARGE_REQUEST))
    unary = _stub(channel).UnaryCall(request, metadata=_METADATA)
    await unary
    await check(unary)
    stream = _stub(channel).FullDuplexCall(metadata=_METADATA)
    await stream.write(_output_request([_LARGE_RESPONSE], _LARGE_REQUEST))
    await stream.done_writing()
    _equal(len(await _all(stream)), 1, "responses")
    await check(stream)


async def _expect_echoed_status(channel: Any, message: str, *, full_duplex: bool) -> None:
    status = messages_pb2.EchoStatus(code=2, message=message)
    call = _stub(channel).UnaryCall(messages_pb2.SimpleRequest(response_status=status))
    await _expect_status(call, grpc.StatusCode.UNKNOWN, message)
    if full_duplex:
        call = _stub(channel).FullDuplexCall()
        await call.write(messages_pb2.StreamingOutputCallRequest(response_status=status))
        await call.done_writing()
        await _expect_status(call, grpc.StatusCode.UNKNOWN, message)


async def status_code_and_message(channel: Any) -> None:
    await _expect_echoed_status(channel, _STATUS_MESSAGE, full_duplex=True)


async def special_status_message(channel: Any) -> None:
    await _expect_echoed_status(channel, _SPECIAL_MESSAGE, full_duplex=False)


async def unimplemented_method(channel: Any) -> None:
    await _expect_status(_stub(channel).UnimplementedCall(Empty()), grpc.StatusCode.UNIMPLEMENTED)


async def unimplemented_service(channel: Any) -> None:
    stub: Any = test_pb2_grpc.UnimplementedServiceStub(channel)
    await _expect_status(stub.UnimplementedCall(Empty()), grpc.StatusCode.UNIMPLEMENTED)


#: Name -> case; the two soak cases, which have arguments, are in ``soak``.
CASES: dict[str, Callable[[Any], Awaitable[None]]] = {
    case.__name__: case
    for case in (
        empty_unary,
        large_unary,
        client_streaming,
        server_streaming,
        ping_pong,
        empty_stream,
        client_compressed_unary,
        server_compressed_unary,
        client_compressed_streaming,
        server_compressed_streaming,
        cancel_after_begin,
        cancel_after_first_response,
        timeout_on_sleeping_server,
        custom_metadata,
        status_code_and_message,
        special_status_message,
        unimplemented_method,
        unimplemented_service,
    )
}
