"""A server whose memory is its own: run as a process, it prints its port and root certificate and ends with its standard input."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import quicrpc
import quicrpc.aio
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.services.echo.handlers import Echo
from quicrpc.testing.certificates import CertificateAuthority


class Measured(Echo):
    """Unary with the body ``state`` tells about the process, Stream counts what it could write, Bidi never reads."""

    def __init__(self) -> None:
        self._running = 0
        self._written_bytes = 0

    async def Unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        if request.body != b"state":
            return request
        gc.collect()
        state = {"running": self._running, "tasks": len(asyncio.all_tasks()), "written_bytes": self._written_bytes}
        return EchoMessage(body=json.dumps(state).encode())

    async def Stream(self, request: EchoMessage, context: Any) -> AsyncIterator[EchoMessage]:
        self._running += 1
        try:
            async for response in super().Stream(request, context):
                yield response
                self._written_bytes += len(response.body)
        finally:
            self._running -= 1

    async def Bidi(self, request_iterator: AsyncIterator[EchoMessage], context: Any) -> AsyncIterator[EchoMessage]:
        self._running += 1
        try:
            await asyncio.Event().wait()
            yield EchoMessage()
        finally:
            self._running -= 1


async def _serve() -> None:
    authority = CertificateAuthority()
    leaf = authority.issue()
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(Measured(), server)
    credentials = quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials, transport="h3")
    await server.start()
    print(json.dumps({"port": port, "ca": authority.certificate_pem.decode()}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


asyncio.run(_serve())
