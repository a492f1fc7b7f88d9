"""The raw client itself, against a server that behaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import quicrpc
import quicrpc.aio
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.services.echo.handlers import Echo
from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import (
    CONTROL_STREAM,
    data_frame,
    grpc_message,
    parse_response,
    request_headers,
    settings_frame,
)

AUTHORITY = CertificateAuthority()
H3_FRAME_UNEXPECTED = 0x105
H3_REQUEST_CANCELLED = 0x10C


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    chain = AUTHORITY.issue()
    port = server.add_secure_port(
        "127.0.0.1:0", quicrpc.ssl_server_credentials([(chain.private_key, chain.certificate_chain)]), transport="h3"
    )
    await server.start()
    yield "127.0.0.1", port
    await server.stop(None)


def _call(client: RawClient, method: str, message: EchoMessage) -> int:
    stream = client.open_stream()
    body = data_frame(grpc_message(message.SerializeToString()))
    client.send(stream, request_headers(f"/echo.Echo/{method}") + body, fin=True)
    return stream


async def test_a_call_by_hand(address: tuple[str, int]) -> None:
    def exercise() -> None:
        with RawClient.connect(address, AUTHORITY.certificate_pem) as client:
            assert client.alpn == "h3"
            client.send(client.open_stream(bidirectional=False), CONTROL_STREAM + settings_frame())
            stream = _call(client, "Unary", EchoMessage(body=b"hello"))
            response = parse_response(client.receive_stream(stream, timeout_s=5).data)
            assert response.fields[b":status"] == b"200"
            assert [EchoMessage.FromString(message).body for message in response.messages] == [b"hello"]
            assert response.grpc_status == 0

    await asyncio.to_thread(exercise)


async def test_a_client_that_never_reads_gets_no_more_than_its_window(address: tuple[str, int]) -> None:
    def exercise() -> None:
        with RawClient.connect(address, AUTHORITY.certificate_pem, stream_window=10_000) as client:
            client.hold_credit()
            stream = _call(client, "Stream", EchoMessage(count=3, size=50_000))
            client.run_until(lambda: len(client.stream(stream).data) == 10_000, 5)
            client.run_for(0.1)
            assert len(client.stream(stream).data) == 10_000
            client.hold_credit(False)
            response = parse_response(client.receive_stream(stream, timeout_s=5).data)
            assert [len(EchoMessage.FromString(message).body) for message in response.messages] == [50_000] * 3

    await asyncio.to_thread(exercise)


async def test_illegal_bytes_close_the_connection_with_a_code(address: tuple[str, int]) -> None:
    def exercise() -> None:
        with RawClient.connect(address, AUTHORITY.certificate_pem) as client:
            client.send(client.open_stream(), data_frame(b"before the header section"))
            assert client.receive_close(timeout_s=5).code == H3_FRAME_UNEXPECTED

    await asyncio.to_thread(exercise)


async def test_a_reset_ends_one_call_only(address: tuple[str, int]) -> None:
    def exercise() -> None:
        with RawClient.connect(address, AUTHORITY.certificate_pem) as client:
            stream = client.open_stream()
            client.send(stream, request_headers("/echo.Echo/Bidi"))
            client.reset(stream, H3_REQUEST_CANCELLED)
            client.stop_sending(stream, H3_REQUEST_CANCELLED)
            assert client.receive_stream(stream, timeout_s=5).reset_code is not None
            other = _call(client, "Unary", EchoMessage())
            assert parse_response(client.receive_stream(other, timeout_s=5).data).grpc_status == 0

    await asyncio.to_thread(exercise)


async def test_a_server_of_another_authority_is_refused(address: tuple[str, int]) -> None:
    stranger = CertificateAuthority("another CA").certificate_pem
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(RawClient.connect, address, stranger)
