"""``quicrpc call``: any method of any server, JSON in and JSON out."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import grpc.aio
import typer
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import quicrpc.aio

from . import schemas
from .connect import CaOption, CertOption, KeyOption, Target, Transport, TransportOption, open_channel, run
from .failure import STATUS_EXIT_BASE, fail, status_line

__all__ = ["call"]


def call(
    target: Target,
    method: Annotated[str, typer.Argument(help="package.Service/Method.", metavar="METHOD")],
    data: Annotated[
        str | None, typer.Argument(help="Request as JSON, several one after the other for a stream; - reads standard input.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'name: value'; base64 for names in -bin.")] = None,
    proto: Annotated[list[Path] | None, typer.Option(help=".proto file, or directory of them, that defines the service.")] = None,
    import_path: Annotated[list[Path] | None, typer.Option("--import-path", "-I", help="Where .proto files import from.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until the call is given up.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also print metadata.")] = False,
    transport: TransportOption = Transport.auto,
    ca: CaOption = Path("certs/ca.pem"),
    cert: CertOption = None,
    key: KeyOption = None,
) -> None:
    """Call a method. Responses go to standard output, one line of JSON each, the status to standard error.

    Types come from --proto, else from the families installed here, else from the server's reflection service. Without a request an
    empty one is sent, and an empty stream for methods that take one. Exits with 0 for OK and with 64 + the status otherwise.
    """
    service, _, name = method.removeprefix("/").rpartition("/" if "/" in method else ".")
    if not service or not name:
        fail(f"{method!r} is not of the form package.Service/Method")
    requests = _parse_json(sys.stdin.read() if data == "-" else data or "")
    metadata = [_parse_header(line) for line in header or ()]
    pool = _compiled(proto, import_path or []) if proto else schemas.installed()

    async def work() -> int:
        async with open_channel(target, transport, ca, cert, key) as channel:
            descriptor = _method(pool, service, name)
            if descriptor is None and not proto:
                reflected = await schemas.reflected(channel, service)
                descriptor = None if reflected is None else _method(reflected, service, name)
            if descriptor is None:
                fail(f"nothing defines the service {service}: give --proto, or call a server that offers reflection")
            return await _call(channel, descriptor, _messages(descriptor, requests), metadata, timeout, verbose)

    raise typer.Exit(run(work()))


def _parse_json(text: str) -> list[Any]:
    decoder, values, position = json.JSONDecoder(), [], 0
    while rest := text[position:].lstrip():
        position = len(text) - len(rest)
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError as error:
            fail(f"the request is not JSON: {error}")
        values.append(value)
    return values


def _parse_header(line: str) -> tuple[str, str | bytes]:
    name, colon, value = line.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not name:
        fail(f"the header {line!r} is not of the form 'name: value'")
    if not name.endswith("-bin"):
        return name, value
    try:
        return name, base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        fail(f"the value of the header {name} is not base64")


def _compiled(proto: Sequence[Path], import_paths: Sequence[Path]) -> DescriptorPool:
    try:
        return schemas.compiled(proto, import_paths)
    except ModuleNotFoundError:
        fail("--proto needs protoc: pip install 'quicrpc[protoc]'")
    except (FileNotFoundError, ValueError) as error:
        fail(f"cannot compile --proto: {error}")


def _method(pool: DescriptorPool, service: str, name: str) -> MethodDescriptor | None:
    try:
        return schemas.find_method(pool, service, name)
    except KeyError:
        fail(f"the service {service} has no method {name}")


def _messages(method: MethodDescriptor, requests: list[Any]) -> list[Message]:
    if not method.client_streaming:
        if len(requests) > 1:
            fail(f"{method.full_name} takes one request, not {len(requests)}")
        requests = requests or [{}]
    make = GetMessageClass(method.input_type)
    try:
        return [json_format.ParseDict(request, make(), descriptor_pool=method.containing_service.file.pool) for request in requests]
    except (json_format.ParseError, TypeError, AttributeError) as error:
        fail(f"the request is no {method.input_type.full_name}: {error}")


async def _call(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    requests: list[Message],
    metadata: list[tuple[str, str | bytes]],
    timeout: float | None,
    verbose: bool,
) -> int:
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    path = f"/{method.containing_service.full_name}/{method.name}"
    request_class, response_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    multicallable = getattr(channel, shape)(
        path, request_serializer=request_class.SerializeToString, response_deserializer=response_class.FromString
    )
    started = time.perf_counter()
    argument = _stream(requests) if method.client_streaming else requests[0]
    active = multicallable(argument, metadata=metadata, timeout=timeout)
    try:
        if method.server_streaming:
            async for response in active:
                _print(method, response)
        else:
            _print(method, await active)
    except grpc.aio.AioRpcError:
        pass
    elapsed_ms = (time.perf_counter() - started) * 1000
    code = await active.code()
    if verbose:
        _print_metadata("header", await active.initial_metadata())
        _print_metadata("trailer", await active.trailing_metadata())
    line = status_line(code, await active.details())
    typer.echo(f"{line} ({quicrpc.aio.transport_of(active)}, {elapsed_ms:.1f} ms)", err=True)
    return 0 if code is grpc.StatusCode.OK else STATUS_EXIT_BASE + code.value[0]


async def _stream(requests: list[Message]) -> AsyncIterator[Message]:
    for request in requests:
        yield request


def _print(method: MethodDescriptor, response: Message) -> None:
    value = json_format.MessageToDict(response, descriptor_pool=method.containing_service.file.pool)
    typer.echo(json.dumps(value, ensure_ascii=False))


def _print_metadata(what: str, metadata: Any) -> None:
    for name, value in metadata or ():
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        typer.echo(f"{what} {name}: {text}", err=True)
