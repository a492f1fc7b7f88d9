"""A served family and a channel to it, over each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc.aio
import pytest

import quicrpc
import quicrpc.aio
from quicrpc.testing.certificates import CertificateAuthority

Install = Callable[[grpc.aio.Server], object]
Serve = Callable[..., Awaitable[grpc.aio.Channel]]

AUTHORITY = CertificateAuthority()


@pytest.fixture(params=["h3", "h2"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """A function that serves what it is given and returns a channel to it."""
    async with AsyncExitStack() as stack:

        async def start(install: Install, *interceptors: grpc.aio.ServerInterceptor) -> grpc.aio.Channel:
            server = quicrpc.aio.server(interceptors=interceptors)
            install(server)
            chain = AUTHORITY.issue()
            credentials = quicrpc.ssl_server_credentials([(chain.private_key, chain.certificate_chain)])
            port = server.add_secure_port("127.0.0.1:0", credentials)
            await server.start()
            stack.push_async_callback(server.stop, None)
            trusted = quicrpc.ssl_channel_credentials(AUTHORITY.certificate_pem)
            channel = quicrpc.aio.secure_channel(f"localhost:{port}", trusted, transport=request.param)
            stack.push_async_callback(channel.close)
            return channel

        yield start
