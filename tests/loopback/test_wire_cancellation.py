"""How calls end early, as bytes and frames: RESET_STREAM, STOP_SENDING and deadlines (gRFC G2; RFC 9114, 4.1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import data_frame, grpc_message, request_headers
from tests.loopback.serving import DEADLINE_S, RecordingEcho, ServerThread, call, echo_bytes, response_of

H3_NO_ERROR, H3_REQUEST_CANCELLED = 0x100, 0x10C
UNARY, BIDI, COLLECT = "/echo.Echo/Unary", "/echo.Echo/Bidi", "/echo.Echo/Collect"
MESSAGE = data_frame(grpc_message(echo_bytes(b"x")))


class Stubborn(RecordingEcho):
    """Never answers, unless told to answer early."""

    def __init__(self) -> None:
        super().__init__()
        self.times_remaining: list[float] = []

    async def unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        if request.body == b"wait":
            self.times_remaining.append(context.time_remaining())
            await asyncio.Event().wait()
        return request

    async def bidi(self, requests: AsyncIterator[EchoMessage], context: Any) -> None:
        async for request in requests:
            await context.write(request)
            if request.body == b"enough":
                return

    async def collect(self, requests: AsyncIterator[EchoMessage], context: Any) -> EchoMessage:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
def echo() -> Stubborn:
    return Stubborn()


@pytest.fixture
def client(echo: Stubborn, authority: CertificateAuthority) -> Iterator[RawClient]:
    with ServerThread(echo, authority) as server, server.connect() as connected:
        yield connected


def _start(client: RawClient, echo: RecordingEcho, path: str) -> int:
    stream = client.open_stream()
    client.send(stream, request_headers(path) + MESSAGE)
    method = path.rpartition("/")[2]
    echo.wait_for(lambda: echo.started[method] == 1)
    return stream


@pytest.mark.parametrize("path", [BIDI, COLLECT])
@pytest.mark.parametrize("how", ["RESET_STREAM", "STOP_SENDING", "both"])
def test_client_cancels_and_the_handler_is_cancelled(client: RawClient, echo: Stubborn, path: str, how: str) -> None:
    stream = _start(client, echo, path)
    if how != "STOP_SENDING":
        client.reset(stream, H3_REQUEST_CANCELLED)
    if how != "RESET_STREAM":
        client.stop_sending(stream, H3_REQUEST_CANCELLED)
    method = path.rpartition("/")[2]
    echo.wait_for(lambda: echo.finished[method] == 1)
    assert echo.cancelled[method] == 1
    state = client.receive_stream(stream, timeout_s=DEADLINE_S)
    assert state.reset_code == H3_REQUEST_CANCELLED
    assert call(client).body == b"fine"


def test_lost_connection_cancels_its_handlers(client: RawClient, echo: Stubborn) -> None:
    _start(client, echo, COLLECT)
    client.close()
    echo.wait_for(lambda: echo.cancelled["Collect"] == 1)


def test_deadline_with_an_open_request_resets_and_stops_it(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    client.send(stream, request_headers(COLLECT, [(b"grpc-timeout", b"200m")]))
    state = client.receive_stream(stream, timeout_s=DEADLINE_S)
    client.run_until(lambda: state.stop_code is not None, DEADLINE_S)
    assert (state.reset_code, state.stop_code, bytes(state.data)) == (H3_REQUEST_CANCELLED, H3_REQUEST_CANCELLED, b"")
    echo.wait_for(lambda: echo.cancelled["Collect"] == 1)


def test_deadline_with_a_complete_request_resets_only(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    headers = request_headers(UNARY, [(b"grpc-timeout", b"200m")])
    client.send(stream, headers + data_frame(grpc_message(echo_bytes(b"wait"))), fin=True)
    state = client.receive_stream(stream, timeout_s=DEADLINE_S)
    assert state.reset_code == H3_REQUEST_CANCELLED
    echo.wait_for(lambda: echo.cancelled["Unary"] == 1)
    assert call(client).body == b"fine"
    assert state.stop_code is None
    assert 0 < echo.times_remaining[0] <= 0.2


def test_deadline_of_nothing_has_passed(client: RawClient) -> None:
    stream = client.open_stream()
    headers = request_headers(UNARY, [(b"grpc-timeout", b"0n")])
    client.send(stream, headers + data_frame(grpc_message(echo_bytes(b"wait"))), fin=True)
    assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED


def test_deadline_counts_from_the_headers_of_an_unfinished_request(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    client.send(stream, request_headers(UNARY, [(b"grpc-timeout", b"50m")]))
    assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
    assert echo.started["Unary"] == 0


def test_server_that_finishes_early_stops_the_request_and_keeps_its_response(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    client.send(stream, request_headers(BIDI, [(b"grpc-timeout", b"300m")]) + data_frame(grpc_message(echo_bytes(b"enough"))))
    response = response_of(client, stream)
    assert (response.grpc_status, response.messages) == (0, [echo_bytes(b"enough")])
    state = client.stream(stream)
    client.run_until(lambda: state.stop_code is not None, DEADLINE_S)
    assert state.stop_code == H3_NO_ERROR
    # A later deadline of another call shows that the first call's is long over.
    other = client.open_stream()
    client.send(other, request_headers(COLLECT, [(b"grpc-timeout", b"350m")]))
    assert client.receive_stream(other, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
    assert state.reset_code is None
    assert echo.cancelled["Bidi"] == 0


def test_cancelling_a_finished_call_does_nothing(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    client.send(stream, request_headers(BIDI) + data_frame(grpc_message(echo_bytes(b"enough"))))
    response_of(client, stream)
    client.reset(stream, H3_REQUEST_CANCELLED)
    assert call(client).body == b"fine"
    assert client.stream(stream).reset_code is None
    assert echo.cancelled["Bidi"] == 0


def test_request_reset_before_its_message_never_runs(client: RawClient, echo: Stubborn) -> None:
    stream = client.open_stream()
    client.send(stream, request_headers(UNARY))
    client.reset(stream, H3_REQUEST_CANCELLED)
    assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
    assert call(client).body == b"fine"
    assert echo.started["Unary"] == 1


def test_bytes_after_the_answer_are_thrown_away_and_the_window_stays_whole(client: RawClient) -> None:
    """A client that does not honour STOP_SENDING at once: more than a connection window of it in all."""
    for _ in range(20):
        stream = client.open_stream()
        client.send(stream, request_headers("/echo.Echo/Nothing"))
        client.send(stream, data_frame(grpc_message(bytes(100_000))), fin=True)
        assert response_of(client, stream).grpc_status == 12
    body = bytes(2_000_000)
    assert call(client, body).body == body


@pytest.mark.parametrize("limit", [1, 8])
def test_stream_limit(echo: Stubborn, authority: CertificateAuthority, limit: int) -> None:
    options = [("grpc.max_concurrent_streams", limit)]
    with ServerThread(echo, authority, options=options) as server, server.connect() as client:
        for _ in range(limit):
            client.send(client.open_stream(), request_headers(BIDI))
        echo.wait_for(lambda: echo.started["Bidi"] == limit)
        waiting = client.open_stream()
        client.send(waiting, request_headers(BIDI) + MESSAGE, fin=True)
        client.ping()
        client.run_until(lambda: client.quic._loss.bytes_in_flight == 0, DEADLINE_S)
        assert client.quic._streams[waiting].is_blocked
        client.send(0, b"", fin=True)
        assert response_of(client, waiting).messages == [echo_bytes(b"x")]
        # Freed one by one, for as long as the connection lives.
        for _ in range(3 * limit):
            assert call(client).body == b"fine"


def test_client_that_ignores_the_stream_limit_loses_its_connection_alone(echo: Stubborn, authority: CertificateAuthority) -> None:
    options = [("grpc.max_concurrent_streams", 8)]
    with ServerThread(echo, authority, options=options) as server, server.connect() as neighbour, server.connect() as offender:
        offender.quic._remote_max_streams_bidi = 9
        for _ in range(9):
            offender.send(offender.open_stream(), request_headers(BIDI))
        closed = offender.receive_close(timeout_s=DEADLINE_S)
        assert closed.code == 0x4  # STREAM_LIMIT_ERROR
        assert closed.frame_type is not None
        assert call(neighbour).body == b"fine"
        echo.wait_for(lambda: echo.started["Bidi"] == echo.cancelled["Bidi"])
