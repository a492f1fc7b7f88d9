"""Mutual TLS over both transports: who is refused, and what a handler learns of who is not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.quic.engine import CertificateChain
from quicrpc.testing.certificates import CertificateAuthority, self_signed
from tests.loopback.raw.client import Closed
from tests.loopback.serving import DEADLINE_S, RecordingEcho, ServerThread, call

CRYPTO_ERROR = 0x100
EXPIRED, UNSUPPORTED, UNKNOWN_CA, BAD, REQUIRED = 45, 43, 48, 42, 116


class Identifying(RecordingEcho):
    """Answers with what the context says about the client."""

    async def unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        said = {
            "identities": [value.decode() for value in context.peer_identities() or ()],
            "key": _text(context.peer_identity_key()),
            "context": {_text(key): [value.decode() for value in values] for key, values in context.auth_context().items()},
        }
        return EchoMessage(body=json.dumps(said).encode())


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@pytest.fixture(scope="module")
def clients() -> CertificateAuthority:
    return CertificateAuthority("clients")


@pytest.fixture
def echo() -> Identifying:
    return Identifying()


@pytest.fixture
def server(echo: Identifying, authority: CertificateAuthority, clients: CertificateAuthority) -> Iterator[ServerThread]:
    with ServerThread(echo, authority, client_roots=clients.certificate_pem, transport="both") as running:
        yield running


def _past(days: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)


def _forged(clients: CertificateAuthority) -> CertificateChain:
    """Our certificate with somebody else's key."""
    good, other = clients.issue(["alice"], client=True), clients.issue(["mallory"], client=True)
    return CertificateChain(good.certificate_chain, other.private_key)


REFUSED: dict[str, tuple[Callable[[CertificateAuthority], CertificateChain | None], int]] = {
    "none": (lambda clients: None, REQUIRED),
    "self-signed": (lambda clients: self_signed(["alice"], client=True), UNKNOWN_CA),
    "of another authority": (lambda clients: CertificateAuthority("clients").issue(["alice"], client=True), UNKNOWN_CA),
    "expired": (lambda clients: clients.issue(["alice"], client=True, not_before=_past(9), not_after=_past(1)), EXPIRED),
    "not yet valid": (lambda clients: clients.issue(["alice"], client=True, not_before=_past(-1)), EXPIRED),
    "for servers only": (lambda clients: clients.issue(["alice"], server=True), UNSUPPORTED),
}


def _handshake(server: ServerThread, certificate: CertificateChain | None) -> Closed:
    pair = None if certificate is None else (certificate.certificate_chain, certificate.private_key)
    # In TLS 1.3 a client is done before the server has looked at its certificate.
    with server.connect(client_certificate=pair) as client:
        return client.receive_close(timeout_s=DEADLINE_S)


@pytest.mark.parametrize("case", REFUSED)
def test_h3_refuses_with_a_tls_alert(server: ServerThread, echo: Identifying, clients: CertificateAuthority, case: str) -> None:
    make, alert = REFUSED[case]
    closed = _handshake(server, make(clients))
    assert closed.code == CRYPTO_ERROR + alert
    assert closed.frame_type is not None  # a transport error, not one of HTTP/3
    assert not echo.started


def test_h3_refuses_a_certificate_whose_key_the_client_does_not_hold(
    server: ServerThread, echo: Identifying, clients: CertificateAuthority
) -> None:
    assert _handshake(server, _forged(clients)).code == CRYPTO_ERROR + 51  # decrypt_error
    assert not echo.started


def test_h3_runs_no_call_sent_together_with_a_refused_certificate(server: ServerThread, echo: Identifying) -> None:
    with server.connect() as client, pytest.raises(ConnectionError):
        call(client)
    assert not echo.started


def _stub(server: ServerThread, certificate: CertificateChain | None) -> tuple[grpc.Channel, Any]:
    key, chain = (None, None) if certificate is None else (certificate.private_key, certificate.certificate_chain)
    channel = grpc.secure_channel(
        f"localhost:{server.port}", grpc.ssl_channel_credentials(server.authority.certificate_pem, key, chain)
    )
    return channel, echo_pb2_grpc.EchoStub(channel)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("case", ["none", "self-signed", "of another authority", "expired"])
def test_h2_refuses_too(server: ServerThread, echo: Identifying, clients: CertificateAuthority, case: str) -> None:
    channel, stub = _stub(server, REFUSED[case][0](clients))
    with channel, pytest.raises(grpc.RpcError) as caught:
        stub.Unary(EchoMessage(), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not echo.started


def test_good_certificate_is_the_same_identity_over_both(server: ServerThread, clients: CertificateAuthority) -> None:
    certificate = clients.issue(["alice.example"], client=True, uris=["spiffe://example/alice"], common_name="Alice")
    with server.connect(client_certificate=(certificate.certificate_chain, certificate.private_key)) as client:
        over_h3 = json.loads(call(client).body)
    channel, stub = _stub(server, certificate)
    with channel:
        over_h2 = json.loads(stub.Unary(EchoMessage(), timeout=DEADLINE_S).body)
    assert over_h3["identities"] == ["alice.example", "spiffe://example/alice"]
    assert over_h3["identities"] == over_h2["identities"]
    assert over_h3["key"] == over_h2["key"] == "x509_subject_alternative_name"
    shared = over_h3["context"].keys() & over_h2["context"].keys()
    assert shared >= {"x509_common_name", "x509_subject_alternative_name", "x509_pem_cert", "transport_security_type"}
    assert {key: over_h3["context"][key] for key in shared} == {key: over_h2["context"][key] for key in shared}


def test_chain_over_an_intermediate_authority_is_accepted(server: ServerThread, clients: CertificateAuthority) -> None:
    certificate = clients.intermediate().issue(["bob.example"], client=True)
    with server.connect(client_certificate=(certificate.certificate_chain, certificate.private_key)) as client:
        assert json.loads(call(client).body)["identities"] == ["bob.example"]


def test_refused_client_does_not_disturb_an_accepted_one(server: ServerThread, clients: CertificateAuthority) -> None:
    certificate = clients.issue(["alice.example"], client=True)
    with server.connect(client_certificate=(certificate.certificate_chain, certificate.private_key)) as accepted:
        assert _handshake(server, None).code == CRYPTO_ERROR + REQUIRED
        assert json.loads(call(accepted).body)["identities"] == ["alice.example"]
