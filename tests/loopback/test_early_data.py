"""0-RTT: what may run before the handshake is complete, and what a replay can do (RFC 8470; RFC 9001, 9.2)."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.early_client import EarlyClient, ticket_of
from tests.loopback.raw.http3 import data_frame, grpc_message, request_headers
from tests.loopback.serving import DEADLINE_S, RecordingEcho, ServerThread, call, echo_bytes, response_of

MARKED = "/echo.Echo/Unary"  # idempotency_level = NO_SIDE_EFFECTS
UNMARKED = "/echo.Echo/Collect"
UNDESCRIBED = "/test.Undescribed/Do"
REPLAYS = 20


class Early(RecordingEcho):
    """Also serves a method whose schema nobody has; tells whether a request came early."""

    async def unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        return EchoMessage(body=b"early" if context.is_early_data() else b"on time")

    async def undescribed(self, request: bytes, context: Any) -> bytes:
        async def work() -> bytes:
            return b"early" if context.is_early_data() else b"on time"

        return await self.recorded("Do", work())


@pytest.fixture
def echo() -> Early:
    return Early()


@pytest.fixture
def server(echo: Early, authority: CertificateAuthority) -> Iterator[ServerThread]:
    undescribed = grpc.method_handlers_generic_handler(
        "test.Undescribed", {"Do": grpc.unary_unary_rpc_method_handler(echo.undescribed)}
    )
    with ServerThread(echo, authority, handlers=[undescribed]) as running:
        yield running


def _request(path: str) -> bytes:
    return request_headers(path) + data_frame(grpc_message(echo_bytes(b"x")))


def _first_flight(server: ServerThread, echo: Early) -> EarlyClient:
    """A client whose first flight holds early requests to every kind of method, and which says nothing after that."""
    client = EarlyClient(server, ticket_of(server))
    echo.started.clear()
    for stream, path in enumerate((UNMARKED, UNDESCRIBED, MARKED)):
        client.put(4 * stream, _request(path))
    return client


def test_only_methods_without_side_effects_run_before_the_handshake_is_complete(server: ServerThread, echo: Early) -> None:
    with _first_flight(server, echo) as client:
        client.flush()
        client.silent = True
        # The server answers the third request with half a handshake done. Had it started the others, it had done so before.
        assert response_of(client, 8).messages == [echo_bytes(b"early")]
        assert echo.started == {"Unary": 1}
        client.speak()
        assert response_of(client, 0).grpc_status == 0
        assert response_of(client, 4).messages == [b"on time"]
        assert echo.started == {"Unary": 1, "Collect": 1, "Do": 1}
        assert client.quic.tls.early_data_accepted


def test_call_after_the_handshake_is_not_early(server: ServerThread) -> None:
    with server.connect() as client:
        assert call(client).body == b"on time"


def test_replayed_first_flight_runs_the_marked_method_once_and_no_other(server: ServerThread, echo: Early) -> None:
    """The original never arrives and the attacker, who cannot complete the handshake, sends twenty copies from twenty addresses."""
    client = _first_flight(server, echo)
    client.silent = True
    client.flush()
    client.abandon()
    _replay(server, client.sent)
    assert echo.started == {"Unary": 2}  # one of them the fence's


def test_replay_after_the_original_runs_nothing(server: ServerThread, echo: Early) -> None:
    with _first_flight(server, echo) as client:
        client.flush()
        flight = list(client.sent)
        for stream in (0, 4, 8):
            response_of(client, stream)
    once = {"Unary": 1, "Collect": 1, "Do": 1}
    assert echo.started == once
    _replay(server, flight)
    assert echo.started == once | {"Unary": 2}
    # Once the server has forgotten the connection, the same datagrams begin a new one; the ticket is spent.
    _replay_until_answered(server, flight)
    _replay(server, flight)
    assert echo.started == once | {"Unary": 3}


def _replay(server: ServerThread, flight: list[bytes]) -> None:
    """Send the flight twenty times, then make a call: the server has read everything before it."""
    for _ in range(REPLAYS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for datagram in flight:
                attacker.sendto(datagram, server.address)
    with server.connect() as fence:
        call(fence)


def _replay_until_answered(server: ServerThread, flight: list[bytes]) -> None:
    """Send the flight until it begins a handshake: the answer is more than the few bytes that a closed connection repeats."""
    deadline = time.monotonic() + DEADLINE_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        while time.monotonic() < deadline:
            for datagram in flight:
                attacker.sendto(datagram, server.address)
            if select.select([attacker], [], [], 0.05)[0] and len(attacker.recv(65_535)) >= 1200:
                return
    raise TimeoutError("the replay never began a handshake")


def test_server_may_refuse_early_data(echo: Early, authority: CertificateAuthority) -> None:
    with ServerThread(echo, authority, options=[("quicrpc.early_data", 0)]) as server:
        assert ticket_of(server).max_early_data_size is None
