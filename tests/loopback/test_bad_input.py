"""Requests that break a rule of gRPC or HTTP/3: each gets a clear answer on its own stream, and nothing else notices."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import (
    DATA,
    GOAWAY,
    HEADERS,
    data_frame,
    frame,
    grpc_message,
    headers_frame,
    parse_frames,
    request_headers,
    settings_frame,
    varint,
)
from tests.loopback.serving import DEADLINE_S, RecordingEcho, ServerThread, call, echo_bytes, response_of

UNARY, BIDI, COLLECT = "/echo.Echo/Unary", "/echo.Echo/Bidi", "/echo.Echo/Collect"
H3_NO_ERROR, H3_EXCESSIVE_LOAD, H3_MESSAGE_ERROR = 0x100, 0x107, 0x10E
GOOD = grpc_message(echo_bytes(b"good"))


class Failing(RecordingEcho):
    """Raises what the body asks for."""

    async def unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        match request.body:
            case b"value":
                raise ValueError("naïve: 100 %\n")
            case b"own":
                raise _OwnError
            case b"verbose":
                raise ValueError("~" * 100_000)
            case b"surrogate":
                raise ValueError("\ud800")
            case b"speechless":
                raise _SpeechlessError
            case b"group":
                raise BaseExceptionGroup("several", [asyncio.CancelledError()])
            case b"abort by hand":
                raise grpc.aio.AbortError
            case b"after-code":
                context.set_code(grpc.StatusCode.NOT_FOUND)
                context.set_details("nothing here")
                raise KeyError("missing")
            case b"abort":
                await context.abort(grpc.StatusCode.ABORTED, "é 100%\n", (("why", "because"),))
            case b"no-message":
                return None  # type: ignore[return-value]  # the mistake under test
        return request

    async def Stream(self, request: EchoMessage, context: Any) -> Any:
        yield request
        raise ValueError("after the first")


class _OwnError(Exception):
    pass


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def echo() -> RecordingEcho:
    return RecordingEcho()


@pytest.fixture
def server(echo: RecordingEcho, authority: CertificateAuthority) -> Iterator[ServerThread]:
    with ServerThread(echo, authority) as running:
        yield running


@pytest.fixture
def client(server: ServerThread) -> Iterator[RawClient]:
    with server.connect() as connected:
        yield connected


class Bystander:
    """A call in flight on the same connection, which must come through unharmed."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._stream = client.open_stream()
        self._sent = 0
        client.send(self._stream, request_headers(BIDI))
        self.exchange()

    def exchange(self) -> None:
        """Send a message and wait until it came back."""
        self._sent += 1
        self._client.send(self._stream, data_frame(GOOD))
        state = self._client.stream(self._stream)
        expected = self._sent * len(data_frame(GOOD))
        self._client.run_until(lambda: state.done or len(state.data) > expected, DEADLINE_S)
        assert not state.done

    def finish(self) -> None:
        """End the call and check everything about it."""
        self.exchange()
        self._client.send(self._stream, b"", fin=True)
        response = response_of(self._client, self._stream)
        assert response.grpc_status == 0
        assert response.messages == [GOOD[5:]] * self._sent


def _request(path: str = UNARY, *extra: tuple[bytes, bytes], body: bytes = GOOD, **arguments: bytes) -> bytes:
    return request_headers(path, extra, **arguments) + (data_frame(body) if body else b"")


def _bare(*fields: tuple[bytes, bytes]) -> bytes:
    return headers_frame(
        [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", UNARY.encode()), *fields]
    )


GZIP = (b"grpc-encoding", b"gzip")
NOT_GZIP = grpc_message(b"not gzip", compressed=1)
CUT_GZIP = grpc_message(gzip.compress(b"")[:-3], compressed=1)

#: Request, :status and grpc-status of the answer.
CASES = {
    "content-type json": (_request(content_type=b"application/json"), 415, 13),
    "content-type grpc-web": (_request(content_type=b"application/grpc-web"), 415, 13),
    "content-type with our prefix": (_request(content_type=b"application/grpcfoo"), 415, 13),
    "content-type of another codec": (_request(content_type=b"application/grpc+json"), 415, 13),
    "content-type missing": (_bare() + data_frame(GOOD), 415, 13),
    "method GET": (_request(method=b"GET", body=b""), 405, 13),
    "method PUT": (_request(method=b"PUT"), 405, 13),
    "path of no method": (_request("/echo.Echo/Nothing"), 200, 12),
    "path of no service": (_request("/nothing.Nothing/Unary"), 200, 12),
    "path that is no path": (_request("*"), 200, 12),
    "path with dots": (_request("/../echo.Echo/Unary"), 200, 12),
    "path escaped": (_request("/echo.Echo%2FUnary"), 200, 12),
    "timeout empty": (_request(UNARY, (b"grpc-timeout", b"")), 200, 13),
    "timeout without unit": (_request(UNARY, (b"grpc-timeout", b"1")), 200, 13),
    "timeout of unknown unit": (_request(UNARY, (b"grpc-timeout", b"1d")), 200, 13),
    "timeout of nine digits": (_request(UNARY, (b"grpc-timeout", b"123456789S")), 200, 13),
    "timeout negative": (_request(UNARY, (b"grpc-timeout", b"-1S")), 200, 13),
    "timeout fraction": (_request(UNARY, (b"grpc-timeout", b"1.5S")), 200, 13),
    "timeout in other digits": (_request(UNARY, (b"grpc-timeout", "\u0661S".encode())), 200, 13),
    "encoding unknown": (_request(UNARY, (b"grpc-encoding", b"br")), 200, 12),
    "encoding not text": (_request(UNARY, (b"grpc-encoding", b"\xff" * 500)), 200, 12),
    "metadata not base64": (_request(UNARY, (b"trace-bin", b"%%%%")), 200, 13),
    "metadata of half a byte": (_request(UNARY, (b"trace-bin", b"A")), 200, 13),
    "flag 2": (_request(body=grpc_message(b"", compressed=2)), 200, 13),
    "flag 0xd7 on a stream": (_request(BIDI, body=grpc_message(b"", compressed=0xD7)), 200, 13),
    "flag set without an encoding": (_request(body=grpc_message(gzip.compress(b""), compressed=1)), 200, 13),
    "corrupt gzip": (_request(UNARY, GZIP, body=NOT_GZIP), 200, 13),
    "corrupt gzip on a stream": (
        _request(BIDI, GZIP, body=NOT_GZIP),
        200,
        13,
    ),
    "gzip cut short": (
        _request(COLLECT, GZIP, body=CUT_GZIP),
        200,
        13,
    ),
    "message cut short": (_request(body=GOOD[:-1]), 200, 13),
    "message cut short on a stream": (_request(COLLECT, body=GOOD + GOOD[:-1]), 200, 13),
    "prefix cut short": (_request(body=GOOD[:3]), 200, 13),
    "bytes after the message": (_request(body=GOOD + b"\0\0"), 200, 13),
    "second message": (_request(body=GOOD + GOOD), 200, 12),
    "second message to a server stream": (_request("/echo.Echo/Stream", body=GOOD + GOOD), 200, 12),
    "no message": (_request(body=b""), 200, 12),
    "no message to a server stream": (_request("/echo.Echo/Stream", body=b""), 200, 12),
    "not a message": (_request(body=grpc_message(b"\xff\xff\xff")), 200, 13),
    "not a message on a stream": (_request(COLLECT, body=grpc_message(b"\xff\xff\xff")), 200, 13),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_request_is_answered_on_its_stream_alone(client: RawClient, case: str) -> None:
    request, http_status, grpc_status = CASES[case]
    bystander = Bystander(client)
    stream = client.open_stream()
    client.send(stream, request, fin=True)
    response = response_of(client, stream)
    assert (int(response.fields[b":status"]), response.grpc_status) == (http_status, grpc_status)
    assert response.messages == []
    assert response.trailers[b"grpc-message"].isascii()
    assert call(client).body == b"fine"
    bystander.finish()


class _Transparent(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # untyped base
    """With an interceptor it is not known before the call has begun how many messages its method takes."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        return await continuation(details)


@pytest.mark.parametrize("interceptors", [(), (_Transparent(),)], ids=["plain", "intercepted"])
def test_bad_requests_at_one_time_each_get_their_own_answer(
    echo: RecordingEcho, authority: CertificateAuthority, interceptors: Any
) -> None:
    with ServerThread(echo, authority, interceptors=interceptors) as server, server.connect() as client:
        _all_at_once(client)
        assert call(client).body == b"fine"


def _all_at_once(client: RawClient) -> None:
    streams = {}
    for case, (request, http_status, grpc_status) in CASES.items():
        stream = client.open_stream()
        client.quic.send_stream_data(stream, request, end_stream=True)
        streams[stream] = (case, http_status, grpc_status)
    good = client.open_stream()
    client.send(good, _request(), fin=True)
    for stream, (case, http_status, grpc_status) in streams.items():
        response = response_of(client, stream)
        assert (int(response.fields[b":status"]), response.grpc_status) == (http_status, grpc_status), case
    assert response_of(client, good).grpc_status == 0


@pytest.mark.parametrize(
    "case", ["flag 2", "second message", "encoding unknown", "content-type json", "method PUT", "path of no method"]
)
def test_answer_does_not_wait_for_the_end_of_the_request(client: RawClient, case: str) -> None:
    request, http_status, grpc_status = CASES[case]
    stream = client.open_stream()
    client.send(stream, request)
    response = response_of(client, stream)
    assert (int(response.fields[b":status"]), response.grpc_status) == (http_status, grpc_status)
    client.run_until(lambda: client.stream(stream).stop_code is not None, DEADLINE_S)
    assert client.stream(stream).stop_code == H3_NO_ERROR


def test_request_may_be_cut_anywhere(client: RawClient) -> None:
    request = _request(body=b"") + data_frame(b"") + b"".join(data_frame(GOOD[at : at + 1]) for at in range(len(GOOD)))
    stream = client.open_stream()
    for at in range(len(request)):
        client.send(stream, request[at : at + 1])
    client.send(stream, b"", fin=True)
    response = response_of(client, stream)
    assert (response.grpc_status, response.messages) == (0, [GOOD[5:]])


def test_request_trailers_and_unknown_frames_are_skipped(client: RawClient) -> None:
    grease = frame(0x21, b"grease")
    stream = client.open_stream()
    request = grease + request_headers(UNARY) + grease + data_frame(GOOD) + headers_frame([(b"checksum", b"1")]) + grease
    client.send(stream, request, fin=True)
    assert response_of(client, stream).grpc_status == 0


def test_method_not_allowed_names_the_allowed_one(client: RawClient) -> None:
    stream = client.open_stream()
    client.send(stream, _request(method=b"GET", body=b""), fin=True)
    assert response_of(client, stream).fields[b"allow"] == b"POST"


def test_unknown_encoding_names_the_known_ones_and_does_not_poison_the_connection(client: RawClient) -> None:
    for _ in range(3):
        stream = client.open_stream()
        client.send(stream, _request(UNARY, (b"grpc-encoding", b"br")), fin=True)
        refused = response_of(client, stream)
        assert refused.grpc_status == 12
        assert b"gzip" in refused.fields[b"grpc-accept-encoding"]
        stream = client.open_stream()
        message = grpc_message(gzip.compress(echo_bytes(b"small")), compressed=1)
        client.send(stream, _request(UNARY, GZIP, body=message), fin=True)
        accepted = response_of(client, stream)
        assert (accepted.grpc_status, accepted.messages) == (0, [echo_bytes(b"small")])


@pytest.mark.parametrize("path", [UNARY, COLLECT])
def test_declared_length_over_the_limit_is_answered_before_any_of_the_message(client: RawClient, path: str) -> None:
    stream = client.open_stream()
    client.send(stream, _request(path, body=grpc_message(b"", declared=1 << 30)))
    response = response_of(client, stream)
    assert response.grpc_status == 8
    assert response.trailers[b"grpc-message"] == b"Received message larger than max (1073741824 vs. 4194304)"
    assert call(client).body == b"fine"


def test_message_of_exactly_the_limit_passes(authority: CertificateAuthority) -> None:
    body = echo_bytes(bytes(1000))
    options = [("grpc.max_receive_message_length", len(body))]
    with ServerThread(RecordingEcho(), authority, options=options) as server, server.connect() as client:
        for extra, status in ((b"", 0), (b"\x10\x01", 8)):
            for compressed in (0, 1):
                message = body + extra
                stream = client.open_stream()
                sent = grpc_message(gzip.compress(message) if compressed else message, compressed=compressed)
                client.send(stream, _request(UNARY, GZIP, body=sent), fin=True)
                assert response_of(client, stream).grpc_status == status


MALFORMED = {
    "section over the limit": (_request(UNARY, (b"x", b"~" * 20_000)), H3_EXCESSIVE_LOAD),
    "section over the limit when decoded": (frame(HEADERS, b"\0\0" + b"\xd1" * 10_000), H3_EXCESSIVE_LOAD),
    "HEADERS frame of absurd length": (varint(HEADERS) + varint(1 << 60), H3_EXCESSIVE_LOAD),
    "upper-case name": (_request(UNARY, (b"X-Upper", b"1")), H3_MESSAGE_ERROR),
    "space before a value": (_request(UNARY, (b"x", b" 1")), H3_MESSAGE_ERROR),
    "connection-specific field": (_request(UNARY, (b"connection", b"close")), H3_MESSAGE_ERROR),
    "content-length too small": (_request(UNARY, (b"content-length", b"1")), H3_MESSAGE_ERROR),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request_resets_its_stream_alone(client: RawClient, case: str) -> None:
    request, code = MALFORMED[case]
    bystander = Bystander(client)
    stream = client.open_stream()
    client.send(stream, request)
    state = client.receive_stream(stream, timeout_s=DEADLINE_S)
    client.run_until(lambda: state.stop_code is not None, DEADLINE_S)
    assert (state.reset_code, state.stop_code) == (code, code)
    assert call(client).body == b"fine"
    bystander.finish()


FATAL = {
    "DATA before HEADERS": (0, frame(DATA, b""), False, 0x105),
    "SETTINGS on a request stream": (0, settings_frame(), False, 0x105),
    "frame cut by the end": (0, _request()[:-1], True, 0x106),
    "undecodable section": (0, frame(HEADERS, b"\xff" * 8), False, 0x200),
    "first control frame is not SETTINGS": (2, b"\0" + frame(GOAWAY, b"\0"), False, 0x10A),
    "SETTINGS twice": (2, b"\0" + settings_frame() + settings_frame(), False, 0x105),
    "a setting twice": (2, b"\0" + settings_frame([(6, 1), (6, 2)]), False, 0x109),
    "SETTINGS of absurd length": (2, b"\0" + varint(4) + varint(1 << 60), False, 0x107),
    "control stream closed": (2, b"\0" + settings_frame(), True, 0x104),
    "push stream": (2, b"\1", False, 0x103),
}


@pytest.mark.parametrize("case", FATAL)
def test_protocol_error_ends_its_connection_alone(server: ServerThread, echo: RecordingEcho, case: str) -> None:
    stream, data, fin, code = FATAL[case]
    with server.connect() as neighbour, server.connect() as offender:
        bystander = Bystander(neighbour)
        victim = offender.open_stream()
        offender.send(victim, request_headers(BIDI))
        echo.wait_for(lambda: echo.started["Bidi"] == 2)
        offender.send(offender.open_stream(bidirectional=stream == 0), data, fin)
        closed = offender.receive_close(timeout_s=DEADLINE_S)
        assert (closed.code, closed.frame_type) == (code, None)
        echo.wait_for(lambda: echo.cancelled["Bidi"] == 1)
        assert call(neighbour).body == b"fine"
        bystander.finish()


# What a handler raises


@pytest.fixture
def both(authority: CertificateAuthority) -> Iterator[ServerThread]:
    with ServerThread(Failing(), authority, transport="both") as running:
        yield running


def _over_h2(server: ServerThread, body: bytes, method: str) -> tuple[int, str]:
    credentials = grpc.ssl_channel_credentials(server.authority.certificate_pem)
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        stub: Any = echo_pb2_grpc.EchoStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as caught:
            if method == "Unary":
                stub.Unary(EchoMessage(body=body), timeout=DEADLINE_S)
            else:
                list(stub.Stream(EchoMessage(body=body), timeout=DEADLINE_S))
    return caught.value.code().value[0], caught.value.details()


def _over_h3(server: ServerThread, body: bytes, method: str) -> tuple[int, str]:
    with server.connect() as client:
        stream = client.open_stream()
        client.send(stream, _request(f"/echo.Echo/{method}", body=grpc_message(echo_bytes(body))), fin=True)
        response = response_of(client, stream)
        return response.grpc_status, unquote(response.trailers[b"grpc-message"].decode("ascii"))


@pytest.mark.parametrize(
    ("body", "method", "code"),
    [(b"value", "Unary", 2), (b"own", "Unary", 2), (b"after-code", "Unary", 5), (b"abort", "Unary", 10), (b"any", "Stream", 2)],
)
def test_exception_in_a_handler_gives_the_status_of_grpc_aio(both: ServerThread, body: bytes, method: str, code: int) -> None:
    over_h3 = _over_h3(both, body, method)
    assert over_h3 == _over_h2(both, body, method)
    assert over_h3[0] == code


def test_exception_in_a_handler_is_named_in_the_details(both: ServerThread) -> None:
    assert _over_h3(both, b"value", "Unary") == (2, "Unexpected <class 'ValueError'>: naïve: 100 %\n")


@pytest.mark.parametrize("body", [b"surrogate", b"speechless", b"group", b"abort by hand"])
def test_odd_exception_in_a_handler_is_a_status_and_not_a_silence(both: ServerThread, body: bytes) -> None:
    code, details = _over_h3(both, body, "Unary")
    assert code == 2
    assert details.startswith("Unexpected <class ")


def test_details_leave_room_in_the_header_section_of_a_usual_client(both: ServerThread) -> None:
    code, details = _over_h3(both, b"verbose", "Unary")
    assert code == 2
    assert details == "Unexpected <class 'ValueError'>: ".ljust(4096, "~")


def test_response_that_is_no_message_is_a_status_and_not_a_silence(both: ServerThread) -> None:
    assert _over_h3(both, b"no-message", "Unary")[0] in {2, 13}


def test_details_are_percent_encoded_and_trailers_only_is_one_frame(both: ServerThread) -> None:
    with both.connect() as client:
        stream = client.open_stream()
        client.send(stream, _request(body=grpc_message(echo_bytes(b"abort"))), fin=True)
        response = response_of(client, stream)
        assert response.trailers[b"grpc-message"] == b"%C3%A9 100%25%0A"
        assert response.trailers[b"why"] == b"because"
        state = client.stream(stream)
        assert [kind for kind, _ in parse_frames(bytes(state.data))] == [HEADERS]
        assert state.ended
