"""Frames that aioquic would take and we do not, each in a packet of an otherwise proper client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aioquic import tls
from aioquic.buffer import encode_uint_var as varint
from aioquic.quic.packet import QuicErrorCode, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder

from quicrpc.quic.aioquic import AioquicEndpoint, guards
from quicrpc.quic.aioquic.connection import Connection
from quicrpc.quic.engine import EventKind
from quicrpc.testing.engine_suite.world import SERVER_ADDRESS, World, authority

_EPOCHS = {
    QuicPacketType.INITIAL: tls.Epoch.INITIAL,
    QuicPacketType.HANDSHAKE: tls.Epoch.HANDSHAKE,
    QuicPacketType.ONE_RTT: tls.Epoch.ONE_RTT,
}


class Attack:
    """A client whose packets may contain anything."""

    def __init__(self, *, complete: bool = True, **options: Any) -> None:
        self.world = World(AioquicEndpoint, 1, **options)
        if complete:
            self.number = self.world.connect()
            self.world.network.run_for(1)
        else:
            self.number = self.world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
            self.world.client.turn()
            self.world.network.run_for(0.001)
        endpoint = self.world.client.endpoint
        assert isinstance(endpoint, AioquicEndpoint)
        self.quic: Connection = endpoint._connections[self.number]

    @property
    def victim(self) -> Connection:
        endpoint = self.world.server.endpoint
        assert isinstance(endpoint, AioquicEndpoint)
        return endpoint._connections[self.world.server_conn()]

    def send(self, payload: bytes, kind: QuicPacketType = QuicPacketType.ONE_RTT) -> None:
        builder = QuicPacketBuilder(
            host_cid=self.quic.host_cid,
            is_client=True,
            max_datagram_size=1452,
            packet_number=self.quic._packet_number,
            peer_cid=self.quic._peer_cid.cid,
            version=1,
        )
        builder.start_packet(kind, self.quic._cryptos[_EPOCHS[kind]])
        assert builder._packet is not None
        builder._packet.in_flight = builder._packet.is_ack_eliciting = True
        builder._buffer.push_bytes(payload)
        datagrams, _ = builder.flush()
        self.quic._packet_number = builder.packet_number
        self.world.client.link.send([(data, SERVER_ADDRESS) for data in datagrams])
        self.world.network.run_for(0.05)

    def verdict(self) -> tuple[int, str] | None:
        closed = self.world.server.of(EventKind.CLOSED)
        return (closed[0][2], closed[0][3]) if closed else None


def stream(offset: int, data: bytes, stream_id: int = 0) -> bytes:
    return b"\x0e" + varint(stream_id) + varint(offset) + varint(len(data)) + data


def crypto(offset: int, data: bytes) -> bytes:
    return b"\x06" + varint(offset) + varint(len(data)) + data


def ack(largest: int, first: int = 0, ranges: Iterable[tuple[int, int]] = ()) -> bytes:
    ranges = list(ranges)
    pairs = b"".join(varint(gap) + varint(length) for gap, length in ranges)
    return b"\x02" + varint(largest) + varint(0) + varint(len(ranges)) + varint(first) + pairs


def test_gaps_in_a_stream_are_bounded() -> None:
    attack = Attack()
    offset = 1
    for _ in range(3):
        frames = []
        for _ in range(100):
            frames.append(stream(offset, b"x"))
            offset += 2
        attack.send(b"".join(frames))
    assert attack.verdict() == (QuicErrorCode.PROTOCOL_VIOLATION, "too many gaps in a stream")


def test_far_crypto_data_is_refused_before_it_costs_memory() -> None:
    attack = Attack(complete=False)
    attack.send(crypto(guards.MAX_CRYPTO_BYTES, b"x"), QuicPacketType.INITIAL)
    assert attack.verdict() == (QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, "too much CRYPTO data")


def test_gaps_in_crypto_data_are_bounded() -> None:
    attack = Attack(complete=False)
    attack.send(b"".join(crypto(1000 + 2 * index, b"x") for index in range(40)), QuicPacketType.INITIAL)
    assert attack.verdict() == (QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, "too much CRYPTO data out of order")


def test_a_long_chain_below_the_bound_is_fine() -> None:
    issuer = authority()
    for level in range(12):
        issuer = issuer.intermediate(chr(65 + level) * 60)
    chain = issuer.issue()
    assert 7_000 < len(chain.certificate_chain) < guards.MAX_CRYPTO_BYTES
    World(AioquicEndpoint, 1, server={"certificates": [chain]}).connect()


def test_optimistic_acknowledgements_are_refused() -> None:
    attack = Attack()
    attack.send(ack(attack.victim._packet_number))
    assert attack.verdict() == (QuicErrorCode.PROTOCOL_VIOLATION, "acknowledged a packet that was not sent")


def test_packet_numbers_are_left_out_to_catch_them() -> None:
    attack = Attack()
    victim = attack.victim
    victim._next_skip = victim._packet_number
    attack.send(b"\x01")
    assert victim.packets_skipped == 1
    skipped = victim._skipped[0]
    attack.send(ack(skipped + 1, 1))
    assert attack.verdict() == (QuicErrorCode.PROTOCOL_VIOLATION, "acknowledged a packet that was not sent")


def test_honest_peers_never_acknowledge_what_was_left_out() -> None:
    attack = Attack()
    for connection in (attack.quic, attack.victim):
        connection._next_skip = connection._packet_number + 3
    client = attack.world.client
    opened = attack.world.open(attack.number)
    client.endpoint.send(attack.number, opened, bytes(200_000), True)
    attack.world.network.run_until(lambda: attack.world.server_finished(opened))
    assert attack.quic.packets_skipped >= 1
    assert attack.verdict() is None


def test_acknowledgement_ranges_are_bounded() -> None:
    attack = Attack()
    attack.send(ack(2, 0, [(0, 0)] * 300))
    assert attack.verdict() == (QuicErrorCode.PROTOCOL_VIOLATION, "too many ACK ranges")


@pytest.mark.parametrize("payload", [ack(1, 5), ack(3, 0, [(5, 0)])])
def test_negative_packet_numbers_are_encoding_errors(payload: bytes) -> None:
    attack = Attack()
    attack.send(payload)
    verdict = attack.verdict()
    assert verdict is not None
    assert verdict[0] == QuicErrorCode.FRAME_ENCODING_ERROR


def test_retire_prior_to_above_the_sequence_number() -> None:
    attack = Attack()
    attack.send(b"\x18" + varint(20) + varint(21) + b"\x08" + bytes(8) + bytes(16))
    verdict = attack.verdict()
    assert verdict is not None
    assert verdict[0] == QuicErrorCode.FRAME_ENCODING_ERROR


def test_no_connection_id_left_is_the_peers_fault() -> None:
    attack = Attack()
    victim = attack.victim
    victim._peer_cid_available.clear()  # as if reserved for paths by probing
    retiring = max(victim._peer_cid_sequence_numbers)
    attack.send(b"\x18" + varint(retiring) + varint(retiring) + b"\x08" + bytes(8) + bytes(16))
    assert attack.verdict() == (QuicErrorCode.PROTOCOL_VIOLATION, "no connection ID left")


def test_retiring_an_unannounced_connection_id_does_no_harm() -> None:
    attack = Attack()
    endpoint = attack.world.server.endpoint
    assert isinstance(endpoint, AioquicEndpoint)
    victim = attack.victim
    spare = next(item for item in victim._host_cids if item.cid != victim.host_cid)
    endpoint._routes.pop(spare.cid, None)
    attack.send(b"\x19" + varint(spare.sequence_number))
    # The server goes on and issues another one; it is the attacker's honest half that counts too many.
    assert attack.verdict() == (QuicErrorCode.CONNECTION_ID_LIMIT_ERROR, "Too many active connection IDs")


def test_keys_change_long_before_their_limit() -> None:
    attack = Attack()
    attack.quic._next_key_update = attack.quic._packet_number + 5
    attack.quic._next_skip = attack.quic._packet_number + 10
    opened = attack.world.open(attack.number)
    for part in range(4):
        attack.world.client.endpoint.send(attack.number, opened, bytes(50_000), part == 3)
        attack.world.network.run_for(1)
    assert attack.world.server_finished(opened)
    assert attack.quic._cryptos[tls.Epoch.ONE_RTT].send.key_phase == 1
    assert attack.victim._cryptos[tls.Epoch.ONE_RTT].recv.key_phase == 1


def test_large_datagrams_are_dropped_unread() -> None:
    attack = Attack(mtu=9000)
    before = attack.victim.datagrams_received
    attack.world.client.link.send([(bytes([0x40]) + attack.quic._peer_cid.cid + bytes(1500), SERVER_ADDRESS)])
    attack.world.network.run_for(0.1)
    assert attack.victim.datagrams_received == before


def test_a_fault_of_our_own_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = Attack()
    other = attack.world.start_client()
    attack.world.connect(client=other)

    def broken(*_arguments: object) -> None:
        raise RuntimeError("boom")

    first = next(iter(attack.world.server.of(EventKind.OPEN)))[1]
    endpoint = attack.world.server.endpoint
    assert isinstance(endpoint, AioquicEndpoint)
    monkeypatch.setattr(endpoint._connections[first], "receive_datagram", broken)
    attack.send(b"\x01")
    assert attack.verdict() == (QuicErrorCode.INTERNAL_ERROR, "internal error")
    assert len(endpoint.connections()) == 1


@pytest.mark.parametrize("method", ["datagrams_to_send", "handle_timer", "_close_end"])
def test_faults_elsewhere_end_it_too(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = Attack()
    endpoint = attack.world.server.endpoint
    original: Callable[..., Any] = getattr(attack.victim, method)
    calls = 0

    def broken_once(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("boom")
        return original(*arguments, **keywords)

    monkeypatch.setattr(attack.victim, method, broken_once)
    attack.send(b"\x01")
    attack.world.network.run_for(70)
    assert endpoint.connections() == []


def test_a_malformed_frame_type_is_a_transport_error() -> None:
    attack = Attack()
    attack.send(b"\x01\x01\x01\xff")
    (closed,) = attack.world.server.of(EventKind.CLOSED)
    assert (closed[2], closed[4]) == (QuicErrorCode.FRAME_ENCODING_ERROR, False)


def test_the_peers_largest_datagram_is_respected() -> None:
    """Whatever the server was told to send, the client's transport parameter is the limit."""
    world = World(AioquicEndpoint, 1, client={"max_receive_datagram_bytes": 1300}, server={"max_datagram_bytes": 1452})
    sizes: list[int] = []

    def measure(data: bytes, source: object, _destination: object) -> list[bytes]:
        if source == SERVER_ADDRESS:
            sizes.append(len(data))
        return [data]

    world.network.tap = measure
    conn = world.connect()
    stream_id = world.open(conn)
    world.client.endpoint.send(conn, stream_id, b"hello", False)
    world.network.run_until(lambda: world.server_received(stream_id))
    world.server.endpoint.send(world.server_conn(), stream_id, bytes(50_000), True)
    world.network.run_until(lambda: world.client.finished)
    assert max(sizes) == 1300
