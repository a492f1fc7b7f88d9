"""grpcio's threaded server over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from bench.peers.arguments import announce, parse_arguments, server_credentials
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage

_THREADS = 8


class Echo(echo_pb2_grpc.EchoServicer):
    """``echo.Echo`` with blocking methods."""

    def Unary(self, request: EchoMessage, context: grpc.ServicerContext) -> EchoMessage:
        return request

    def Stream(self, request: EchoMessage, context: grpc.ServicerContext) -> Iterator[EchoMessage]:
        response = EchoMessage(body=bytes(request.size) if request.size else request.body)
        for _ in range(request.count or 1):
            yield response

    def Bidi(self, request_iterator: Iterator[EchoMessage], context: grpc.ServicerContext) -> Iterator[EchoMessage]:
        for request in request_iterator:
            yield EchoMessage(body=request.body)

    def Collect(self, request_iterator: Iterator[EchoMessage], context: grpc.ServicerContext) -> EchoMessage:
        count = size = 0
        for request in request_iterator:
            count += 1
            size += len(request.body)
        return EchoMessage(count=count, size=size)


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(parse_arguments()))
    server.start()
    announce(port)
    server.wait_for_termination()
