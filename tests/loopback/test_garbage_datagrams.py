"""Datagrams that are no QUIC, or nearly: dropped without a word, and the server goes on."""

from __future__ import annotations

import logging
import random
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header

from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.early_client import EarlyClient
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import data_frame, grpc_message, request_headers
from tests.loopback.serving import DEADLINE_S, RecordingEcho, ServerThread, call, echo_bytes, response_of

V1 = int(QuicProtocolVersion.VERSION_1)
COUNT = 300


@pytest.fixture
def server(authority: CertificateAuthority) -> Iterator[ServerThread]:
    with ServerThread(RecordingEcho(), authority) as running:
        yield running


def _first_datagram(server: ServerThread) -> bytes:
    client = EarlyClient(server)
    client.silent = True
    client.flush()
    client.abandon()
    return client.sent[0]


def _noise(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    for _ in range(COUNT):
        yield chance.randbytes(chance.randrange(1, 1500))


def _long_headers(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    for _ in range(COUNT):
        version = chance.choice((V1, 0, 1 << 31, int(QuicProtocolVersion.VERSION_2)))
        yield bytes((0xC0 | chance.randrange(64),)) + version.to_bytes(4) + chance.randbytes(chance.randrange(1195, 1400))


def _short(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    yield b""
    for size in range(1, 40):
        yield chance.randbytes(size)
        yield b"\xc0" + V1.to_bytes(4) + chance.randbytes(size)


def _largest(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    initial = _first_datagram(server)
    for _ in range(10):
        yield chance.randbytes(65_507)
        yield initial + bytes(65_507 - len(initial))


def _mutated(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    initial = _first_datagram(server)
    for index in range(COUNT):
        mutant = bytearray(initial)
        # The header decides which code is reached, so half of the mutations go there.
        for _ in range(chance.randrange(1, 4)):
            mutant[chance.randrange(50 if index % 2 else len(mutant))] = chance.randrange(256)
        yield bytes(mutant)


def _cut(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    initial = _first_datagram(server)
    for size in range(0, len(initial), 7):
        yield initial[:size]


def _sealed(payload: bytes, chance: random.Random, source: bytes = b"12345678") -> bytes:
    """Protect a payload as a client's first packet: anyone can, the keys follow from the connection ID (RFC 9001, 5.2)."""
    destination = chance.randbytes(8)
    payload += bytes(max(0, 1162 - len(payload)))
    header = b"\xc3" + V1.to_bytes(4) + b"\x08" + destination + b"\x08" + source + b"\0"
    header += (4 + len(payload) + 16 | 0x4000).to_bytes(2) + bytes(4)
    crypto = CryptoPair()
    crypto.setup_initial(cid=destination, is_client=True, version=V1)
    return crypto.encrypt_packet(header, payload, 0)


def _sealed_noise(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    for _ in range(COUNT // 4):
        yield _sealed(chance.randbytes(chance.randrange(1, 1162)), chance)


def _sealed_frames(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    """Every frame type there is, with nonsense inside."""
    for kind in range(0x40):
        yield _sealed(encode_uint_var(kind) + chance.randbytes(30), chance)


def _sealed_hellos(server: ServerThread, chance: random.Random) -> Iterator[bytes]:
    """ClientHellos with a few bytes changed."""
    source, hello = _client_hello(_first_datagram(server))
    for _ in range(COUNT // 4):
        mutant = bytearray(hello)
        for _ in range(chance.randrange(1, 6)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        yield _sealed(b"\x06\x00" + encode_uint_var(len(mutant)) + bytes(mutant), chance, source)


def _client_hello(datagram: bytes) -> tuple[bytes, bytes]:
    """Return the source connection ID, which the ClientHello repeats, and the ClientHello."""
    buffer = Buffer(data=datagram)
    header = pull_quic_header(buffer, host_cid_length=8)
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=V1)
    _, payload, _ = crypto.decrypt_packet(datagram[: header.packet_length], buffer.tell(), 0)
    frame = Buffer(data=payload)
    assert (frame.pull_uint_var(), frame.pull_uint_var()) == (6, 0)
    return header.source_cid, bytes(frame.pull_bytes(frame.pull_uint_var()))


KINDS: dict[str, Callable[[ServerThread, random.Random], Iterator[bytes]]] = {
    "noise": _noise,
    "long headers": _long_headers,
    "short": _short,
    "largest": _largest,
    "mutated Initial": _mutated,
    "cut Initial": _cut,
    "sealed noise": _sealed_noise,
    "sealed frames": _sealed_frames,
    "sealed ClientHellos": _sealed_hellos,
}


def _loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the server, which has a thread of its own, logged above DEBUG."""
    ours = threading.get_ident()
    return [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG and record.thread != ours]


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_dropped_in_silence(server: ServerThread, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    caplog.set_level(logging.DEBUG)
    with server.connect() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        stream = client.open_stream()
        client.send(stream, request_headers("/echo.Echo/Bidi"))
        for datagram in KINDS[kind](server, random.Random(kind)):
            attacker.sendto(datagram, server.address)
        # Datagrams of one socket are read in order: with this answered, all of it has been read.
        client.send(stream, data_frame(grpc_message(echo_bytes(b"x"))), fin=True)
        assert response_of(client, stream).grpc_status == 0
    with server.connect() as newcomer:
        assert call(newcomer).body == b"fine"
    assert _loud(caplog) == []


def test_garbage_from_a_connected_client_costs_its_own_connection_at_most(
    server: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """Noise with the right connection ID is taken for packets that fail to decrypt."""
    caplog.set_level(logging.DEBUG)
    chance = random.Random("own")
    with server.connect() as client:
        for _ in range(COUNT):
            client.send_datagram(bytes((0x40 | chance.randrange(64),)) + client.quic._peer_cid.cid + chance.randbytes(200))
        assert call(client).body == b"fine"
        _forge(client, b"\x1c" + chance.randbytes(5))
        assert client.closed is None
        assert call(client).body == b"fine"
    assert _loud(caplog) == []


def _forge(client: RawClient, payload: bytes) -> None:
    """Send a CONNECTION_CLOSE in an Initial packet sealed with the keys everybody can derive, from the client's own address."""
    client.send_datagram(_sealed(payload, random.Random("forged")))
    client.ping()
    client.run_until(lambda: client.quic._loss.bytes_in_flight == 0, DEADLINE_S)
