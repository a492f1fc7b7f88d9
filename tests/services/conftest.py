"""A served family and a channel to it, over each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest

try:
    import quicrpc.aio
    HAS_HTTP3 = hasattr(quicrpc.aio, 'server')
except ImportError:
    HAS_HTTP3 = False
from quicrpc.testing.certificates import CertificateAuthority

Install = Callable[[grpc.aio.Server], object]
Serve = Callable[[Install], Awaitable[grpc.aio.Channel]]

AUTHORITY = CertificateAuthority()


@pytest.fixture(params=["h3", "h2"] if HAS_HTTP3 else ["grpcio"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """A function that serves what it is given and returns a channel to it."""
    async with AsyncExitStack() as stack:

        async def start(install: Install, *interceptors: grpc.aio.ServerInterceptor) -> grpc.aio.Channel:
            server = quicrpc.aio.server(interceptors=interceptors) if HAS_HTTP3 else grpc.aio.server(interceptors=interceptors)
            install(server)
            chain = AUTHORITY.issue()
            pair = [(chain.private_key, chain.certificate_chain)]
            if HAS_HTTP3:
                port = server.add_secure_port("127.0.0.1:0", quicrpc.ssl_server_credentials(pair))
                credentials = quicrpc.ssl_channel_credentials(AUTHORITY.certificate_pem)
                channel = quicrpc.aio.secure_channel(f"localhost:{port}", credentials, transport=request.param)
            else:
                port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
                credentials = grpc.ssl_channel_credentials(AUTHORITY.certificate_pem)
                channel = grpc.aio.secure_channel(f"localhost:{port}", credentials)
            await server.start()
            stack.push_async_callback(server.stop, None)
            stack.push_async_callback(channel.close)
            return channel

        yield start
