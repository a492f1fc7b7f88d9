"""grpclib's server over TLS: pure Python on the h2 library."""

from __future__ import annotations

import asyncio
import ssl

# An optional peer, often absent.
from grpclib.const import Cardinality, Handler  # type: ignore[import-not-found, unused-ignore]
from grpclib.server import Server, Stream  # type: ignore[import-not-found, unused-ignore]

from bench.peers.arguments import announce, parse_arguments
from quicrpc.gen.echo.echo_pb2 import EchoMessage


class Echo:
    """``echo.Echo`` in grpclib's own vocabulary."""

    async def unary(self, stream: Stream[EchoMessage, EchoMessage]) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(request)

    async def stream(self, stream: Stream[EchoMessage, EchoMessage]) -> None:
        request = await stream.recv_message()
        assert request is not None
        response = EchoMessage(body=bytes(request.size) if request.size else request.body)
        for _ in range(request.count or 1):
            await stream.send_message(response)

    async def bidi(self, stream: Stream[EchoMessage, EchoMessage]) -> None:
        async for request in stream:
            await stream.send_message(EchoMessage(body=request.body))

    async def collect(self, stream: Stream[EchoMessage, EchoMessage]) -> None:
        count = size = 0
        async for request in stream:
            count += 1
            size += len(request.body)
        await stream.send_message(EchoMessage(count=count, size=size))

    def __mapping__(self) -> dict[str, Handler]:
        methods = {
            "Unary": (self.unary, Cardinality.UNARY_UNARY),
            "Stream": (self.stream, Cardinality.UNARY_STREAM),
            "Bidi": (self.bidi, Cardinality.STREAM_STREAM),
            "Collect": (self.collect, Cardinality.STREAM_UNARY),
        }
        return {f"/echo.Echo/{name}": Handler(*method, EchoMessage, EchoMessage) for name, method in methods.items()}


async def _serve() -> None:
    arguments = parse_arguments()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(arguments.cert, arguments.key)
    context.set_alpn_protocols(["h2"])
    server = Server([Echo()])
    await server.start("127.0.0.1", 0, ssl=context)
    announce(server._server.sockets[0].getsockname()[1])
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(_serve())
