"""The client under test: makes the calls that standard input describes and reports what it saw of each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal

import grpc
from grpc import aio

import quicrpc
import quicrpc.aio
from quicrpc.testing.conformance.messages import client_compat_pb2, config_pb2, error_of, headers_of, metadata_of, service_pb2
from quicrpc.testing.conformance.pipe import open_input, read_message, write_message

__all__ = ["make_calls"]

_MAX_CALLS_AT_ONCE = 16
_CASE_TIMEOUT_S = 60
_SERVICE = "connectrpc.conformance.v1.ConformanceService"
_RESPONSE_TYPES = {
    "Unary": service_pb2.UnaryResponse,
    "ServerStream": service_pb2.ServerStreamResponse,
    "ClientStream": service_pb2.ClientStreamResponse,
    "BidiStream": service_pb2.BidiStreamResponse,
    "Unimplemented": service_pb2.UnimplementedResponse,
}
_COMPRESSIONS = {config_pb2.COMPRESSION_GZIP: grpc.Compression.Gzip, config_pb2.COMPRESSION_DEFLATE: grpc.Compression.Deflate}


class _Channels:
    """One channel for each set of parameters, shared by all cases that have them: one case must not disturb another."""

    def __init__(self) -> None:
        self._channels: dict[tuple[Any, ...], Any] = {}

    def get(self, case: Any) -> Any:
        transport: Literal["h3", "h2"] = "h3" if case.http_version == config_pb2.HTTP_VERSION_3 else "h2"
        credentials = case.client_tls_creds
        key = (transport, case.port, case.compression, case.message_receive_limit, credentials.key)
        if key not in self._channels:
            limit = case.message_receive_limit
            self._channels[key] = quicrpc.aio.secure_channel(
                f"{case.host}:{case.port}",
                quicrpc.ssl_channel_credentials(case.server_tls_cert, credentials.key or None, credentials.cert or None),
                options=[("grpc.max_receive_message_length", limit)] if limit else None,
                compression=_COMPRESSIONS.get(case.compression),
                transport=transport,
            )
        return self._channels[key]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()


class _Case:
    """One call."""

    def __init__(self, case: Any, channel: Any) -> None:
        self._case = case
        self._channel = channel
        self._requests = [message.value for message in case.request_messages]
        self._method = f"/{case.service or _SERVICE}/{case.method}"
        self._read_response = _RESPONSE_TYPES[case.method].FromString
        self._arguments: dict[str, Any] = {"metadata": metadata_of(case.request_headers)}
        if case.HasField("timeout_ms"):
            self._arguments["timeout"] = case.timeout_ms / 1000
        self._timing = case.cancel.WhichOneof("cancel_timing") if case.HasField("cancel") else None
        self._result = client_compat_pb2.ClientResponseResult(num_unsent_requests=len(self._requests))
        self._received = 0
        self._canceller: asyncio.Task[None] | None = None

    async def run(self) -> Any:
        """Make the call and return what became of it."""
        kind = self._case.stream_type
        if kind == config_pb2.STREAM_TYPE_UNARY:
            call = await self._unary()
        elif kind == config_pb2.STREAM_TYPE_SERVER_STREAM:
            call = await self._server_stream()
        elif kind == config_pb2.STREAM_TYPE_CLIENT_STREAM:
            call = await self._client_stream()
        else:
            call = await self._bidi_stream(full_duplex=kind == config_pb2.STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM)
        result = self._result
        result.response_headers.extend(headers_of(await call.initial_metadata() or ()))
        code = await call.code()
        trailers = await call.trailing_metadata() or ()
        result.response_trailers.extend(headers_of(trailers))
        if code is not grpc.StatusCode.OK:
            result.error.CopyFrom(error_of(code, await call.details(), trailers))
        if self._canceller is not None:
            self._canceller.cancel()
        return result

    # ---- the kinds of methods

    async def _unary(self) -> Any:
        stub = self._channel.unary_unary(self._method, None, self._read_response)
        call = stub(self._requests[0], **self._arguments)
        self._result.num_unsent_requests = 0
        self._requests_done(call)
        await self._take_single(call)
        return call

    async def _server_stream(self) -> Any:
        stub = self._channel.unary_stream(self._method, None, self._read_response)
        call = stub(self._requests[0], **self._arguments)
        self._result.num_unsent_requests = 0
        self._requests_done(call)
        await self._take_all(call)
        return call

    async def _client_stream(self) -> Any:
        stub = self._channel.stream_unary(self._method, None, self._read_response)
        call = stub(**self._arguments)
        with suppress(aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            for request in self._requests:
                await self._write(call, request)
            await self._half_close(call)
        await self._take_single(call)
        return call

    async def _bidi_stream(self, *, full_duplex: bool) -> Any:
        stub = self._channel.stream_stream(self._method, None, self._read_response)
        call = stub(**self._arguments)
        with suppress(aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            for request in self._requests:
                await self._write(call, request)
                if full_duplex and not await self._take(call):
                    break
            await self._half_close(call)
        await self._take_all(call)
        return call

    # ---- steps of a call

    async def _write(self, call: Any, request: bytes) -> None:
        if self._case.request_delay_ms:
            await asyncio.sleep(self._case.request_delay_ms / 1000)
        await call.write(request)
        self._result.num_unsent_requests -= 1

    async def _half_close(self, call: Any) -> None:
        if self._timing == "before_close_send":
            call.cancel()
        else:
            await call.done_writing()
            self._requests_done(call)

    def _requests_done(self, call: Any) -> None:
        if self._case.HasField("cancel") and self._timing in (None, "after_close_send_ms"):
            self._canceller = asyncio.ensure_future(self._cancel_later(call))

    async def _cancel_later(self, call: Any) -> None:
        await asyncio.sleep(self._case.cancel.after_close_send_ms / 1000)
        call.cancel()

    async def _take_single(self, call: Any) -> None:
        with suppress(aio.AioRpcError, asyncio.CancelledError):
            self._add(await call)

    async def _take_all(self, call: Any) -> None:
        with suppress(aio.AioRpcError, asyncio.CancelledError):
            while await self._take(call):
                pass

    async def _take(self, call: Any) -> bool:
        message = await call.read()
        if message is aio.EOF:
            return False
        self._add(message)
        self._received += 1
        if self._timing == "after_num_responses" and self._received == self._case.cancel.after_num_responses:
            call.cancel()
        return True

    def _add(self, message: Any) -> None:
        if isinstance(message, service_pb2.UnimplementedResponse):
            self._result.payloads.add()
        else:
            self._result.payloads.append(message.payload)


async def make_calls() -> None:
    """Make the calls that standard input describes, several at once, until it ends."""
    channels = _Channels()
    permits = asyncio.Semaphore(_MAX_CALLS_AT_ONCE)

    async def report(case: Any) -> None:
        response = client_compat_pb2.ClientCompatResponse(test_name=case.test_name)
        try:
            async with asyncio.timeout(_CASE_TIMEOUT_S):
                response.response.CopyFrom(await _Case(case, channels.get(case)).run())
        except Exception as error:
            response.error.message = f"{type(error).__name__}: {error}"
        finally:
            permits.release()
        write_message(response)

    reader = await open_input()
    async with asyncio.TaskGroup() as calls:
        while (case := await read_message(reader, client_compat_pb2.ClientCompatRequest)) is not None:
            await permits.acquire()
            calls.create_task(report(case))
    await channels.close()
