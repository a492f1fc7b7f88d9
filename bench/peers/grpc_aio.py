"""grpcio's asyncio server over TLS, with the very servicer that quicrpc serves."""

from __future__ import annotations

import asyncio

import grpc.aio
import uvloop

from bench.peers.arguments import announce, parse_arguments, server_credentials
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.services.echo.handlers import Echo


async def _serve(credentials: grpc.ServerCredentials) -> None:
    server = grpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    announce(port)
    await server.wait_for_termination()


if __name__ == "__main__":
    arguments = parse_arguments()
    run = uvloop.run if arguments.uvloop else asyncio.run
    run(_serve(server_credentials(arguments)))
