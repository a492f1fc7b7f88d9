"""A server and channels on 127.0.0.1, with certificates made in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

import quicrpc
import quicrpc.aio
from quicrpc.gen.echo import echo_pb2, echo_pb2_grpc
from quicrpc.testing.certificates import CertificateAuthority

Message = echo_pb2.EchoMessage


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture(scope="session")
def server_credentials(authority: CertificateAuthority) -> Any:
    leaf = authority.issue()
    return quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])


@pytest.fixture(scope="session")
def channel_credentials(authority: CertificateAuthority) -> grpc.ChannelCredentials:
    return quicrpc.ssl_channel_credentials(authority.certificate_pem)


@pytest.fixture(params=["h3", "h2"])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


StartServer = Callable[..., Awaitable[int]]
OpenChannel = Callable[..., Any]


@pytest.fixture
async def start_server(server_credentials: Any) -> AsyncIterator[StartServer]:
    """``await start_server(servicer, **arguments of quicrpc.aio.server) -> port``"""
    async with AsyncExitStack() as stack:

        async def start(
            servicer: Any = None,
            *,
            handlers: Any = (),
            port_options: dict[str, Any] | None = None,
            credentials: Any = None,
            **arguments: Any,
        ) -> int:
            server = quicrpc.aio.server(handlers=handlers or None, **arguments)
            if servicer is not None:
                echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
            port: int = server.add_secure_port("127.0.0.1:0", credentials or server_credentials, **(port_options or {}))
            await server.start()
            stack.push_async_callback(server.stop, None)
            return port

        yield start


@pytest.fixture
async def open_channel(channel_credentials: grpc.ChannelCredentials) -> AsyncIterator[OpenChannel]:
    """``open_channel(port, transport, **arguments of secure_channel) -> channel``"""
    async with AsyncExitStack() as stack:

        def open_(port: int, transport: str = "h3", *, credentials: Any = None, **arguments: Any) -> Any:
            channel = quicrpc.aio.secure_channel(
                f"127.0.0.1:{port}", credentials or channel_credentials, transport=transport, **arguments
            )
            stack.push_async_callback(channel.close)
            return channel

        yield open_
