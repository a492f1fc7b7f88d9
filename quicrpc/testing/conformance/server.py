"""The server under test: each request says how it wants to be answered."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

import quicrpc
import quicrpc.aio
from quicrpc.testing.conformance.messages import (
    DETAILS_KEY,
    config_pb2,
    headers_of,
    metadata_of,
    server_compat_pb2,
    service_pb2,
    status_bytes,
    status_code_of,
)
from quicrpc.testing.conformance.pipe import open_input, read_message, write_message

__all__ = ["serve"]

_SERVICE = "connectrpc.conformance.v1.ConformanceService"
_Payload = service_pb2.ConformancePayload


class _Observed:
    """What the handler has seen of its request, for the RequestInfo that the suite compares."""

    def __init__(self, context: Any) -> None:
        self._headers = headers_of(context.invocation_metadata())
        remaining = context.time_remaining()
        self._timeout_ms = None if remaining is None else int(remaining * 1000)
        self._requests: list[AnyMessage] = []

    def add(self, request: Any) -> None:
        self._requests.append(_packed(request))

    def everything(self) -> Any:
        """Return the RequestInfo of a call's first response."""
        info = _Payload.RequestInfo(request_headers=self._headers, timeout_ms=self._timeout_ms)
        info.requests.extend(self.take_requests())
        return info

    def take_requests(self) -> list[AnyMessage]:
        """Return the requests that no response has told of yet."""
        requests, self._requests = self._requests, []
        return requests


def _definition_of(request: Any) -> Any:
    return request.response_definition if request.HasField("response_definition") else None


async def _delay(definition: Any) -> None:
    if definition.response_delay_ms:
        await asyncio.sleep(definition.response_delay_ms / 1000)


async def _abort(context: Any, definition: Any, details: list[Any]) -> None:
    error = definition.error
    trailers = (*metadata_of(definition.response_trailers), (DETAILS_KEY, status_bytes(error, details)))
    await context.abort(status_code_of(error), error.message, trailers)


def _packed(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


async def _answer_once(context: Any, observed: _Observed, definition: Any) -> Any:
    """Answer a method that returns one message; returns its payload."""
    if definition is None:
        return _Payload(request_info=observed.everything())
    await context.send_initial_metadata(metadata_of(definition.response_headers))
    await _delay(definition)
    if definition.HasField("error"):
        await _abort(context, definition, [_packed(observed.everything())])
    context.set_trailing_metadata(metadata_of(definition.response_trailers))
    return _Payload(data=definition.response_data, request_info=observed.everything())


async def _end_stream(context: Any, observed: _Observed, definition: Any, sent: int) -> None:
    """End a stream of responses with the error or the trailers it is to have."""
    if definition.HasField("error"):
        await _abort(context, definition, [] if sent else [_packed(observed.everything())])
    context.set_trailing_metadata(metadata_of(definition.response_trailers))


async def _unary(request: Any, context: Any) -> Any:
    observed = _Observed(context)
    observed.add(request)
    return service_pb2.UnaryResponse(payload=await _answer_once(context, observed, _definition_of(request)))


async def _client_stream(requests: AsyncIterator[Any], context: Any) -> Any:
    observed = _Observed(context)
    first = None
    async for request in requests:
        observed.add(request)
        first = first or request
    definition = None if first is None else _definition_of(first)
    return service_pb2.ClientStreamResponse(payload=await _answer_once(context, observed, definition))


async def _server_stream(request: Any, context: Any) -> AsyncIterator[Any]:
    observed = _Observed(context)
    observed.add(request)
    definition = _definition_of(request)
    if definition is None:
        return
    await context.send_initial_metadata(metadata_of(definition.response_headers))
    for index, data in enumerate(definition.response_data):
        await _delay(definition)
        info = None if index else observed.everything()
        yield service_pb2.ServerStreamResponse(payload=_Payload(data=data, request_info=info))
    await _end_stream(context, observed, definition, len(definition.response_data))


async def _bidi_stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    observed = _Observed(context)
    definition: Any = None
    first: Any = None
    sent = 0

    async def response(info: Any) -> Any:
        await _delay(definition)
        return service_pb2.BidiStreamResponse(payload=_Payload(data=definition.response_data[sent], request_info=info))

    async for request in requests:
        observed.add(request)
        if first is None:
            first, definition = request, _definition_of(request)
            if first.full_duplex and definition is not None:
                await context.send_initial_metadata(metadata_of(definition.response_headers))
        if first.full_duplex:
            if definition is None or sent == len(definition.response_data):
                break
            yield await response(_Payload.RequestInfo(requests=observed.take_requests()) if sent else observed.everything())
            sent += 1
    if first is None or definition is None:
        return
    if not first.full_duplex:
        await context.send_initial_metadata(metadata_of(definition.response_headers))
    while sent < len(definition.response_data):
        yield await response(None if sent else observed.everything())
        sent += 1
    await _end_stream(context, observed, definition, sent)


def _handlers() -> grpc.GenericRpcHandler:
    def arguments(request_type: Any) -> dict[str, Any]:
        return {"request_deserializer": request_type.FromString, "response_serializer": lambda message: message.SerializeToString()}

    # Unimplemented is left out: the suite calls it to see that it is.
    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(_unary, **arguments(service_pb2.UnaryRequest)),
            "ServerStream": grpc.unary_stream_rpc_method_handler(_server_stream, **arguments(service_pb2.ServerStreamRequest)),
            "ClientStream": grpc.stream_unary_rpc_method_handler(_client_stream, **arguments(service_pb2.ClientStreamRequest)),
            "BidiStream": grpc.stream_stream_rpc_method_handler(_bidi_stream, **arguments(service_pb2.BidiStreamRequest)),
        },
    )


async def serve() -> None:
    """Start the one server that standard input asks for, tell where it listens, and serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    wanted = await read_message(await open_input(), server_compat_pb2.ServerCompatRequest)
    if wanted is None:
        return
    limit = wanted.message_receive_limit
    server = quicrpc.aio.server(handlers=[_handlers()], options=[("grpc.max_receive_message_length", limit)] if limit else None)
    if wanted.use_tls:
        pair = (wanted.server_creds.key, wanted.server_creds.cert)
        roots = wanted.client_tls_cert or None
        credentials = quicrpc.ssl_server_credentials([pair], roots, roots is not None)
        is_h3 = wanted.http_version == config_pb2.HTTP_VERSION_3
        port = server.add_secure_port("127.0.0.1:0", credentials, transport="h3" if is_h3 else "h2")
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    write_message(server_compat_pb2.ServerCompatResponse(host="127.0.0.1", port=port, pem_cert=wanted.server_creds.cert))
    await stopped.wait()
    await server.stop(None)
