"""Random frames in well-protected packets: a server may close the connection, for a reason of its own; it must not stumble."""

from __future__ import annotations

import random

import pytest
from aioquic import tls
from aioquic.buffer import encode_uint_var as varint
from aioquic.quic.packet import QuicErrorCode, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder

from quicrpc.quic.aioquic import AioquicEndpoint
from quicrpc.quic.engine import EventKind
from quicrpc.testing.engine_suite.world import SERVER_ADDRESS, World

_NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 100, 255, 1023, 1024, 16_383, 65_536, 2**30, 2**60, 2**62 - 1]


def random_number(rng: random.Random) -> bytes:
    return varint(rng.choice(_NUMBERS) if rng.random() < 0.7 else rng.randrange(64))


def random_frame(rng: random.Random) -> bytes:
    kind = rng.choice([*range(0x1F), 0x30, 0x31, 0x40, 0xFF])
    if kind in range(0x08, 0x10):
        data = rng.randbytes(rng.choice((0, 1, 5, 50)))
        frame = varint(rng.randrange(24))
        frame += varint(rng.randrange(200)) if kind & 4 else b""
        frame += varint(len(data)) if kind & 2 else b""
        return bytes((kind,)) + frame + data
    if kind == 0x06:
        data = rng.randbytes(rng.randrange(20))
        return b"\x06" + varint(rng.randrange(100)) + varint(len(data)) + data
    if kind == 0x18:
        return b"\x18" + varint(rng.randrange(12)) + varint(rng.randrange(4)) + b"\x08" + rng.randbytes(24)
    if kind in (0x1A, 0x1B):
        return bytes((kind,)) + rng.randbytes(8)
    if kind in (0x1C, 0x1D):
        return b"" if rng.random() < 0.95 else bytes((kind,)) + random_number(rng) * 2 + b"\x01x"
    if kind == 0x02:
        return b"\x02" + varint(rng.randrange(12)) + b"\0\0" + varint(rng.randrange(4))
    if kind == 0x19:
        return b"\x19" + varint(rng.randrange(8))
    if kind in (0x04, 0x05):
        final_size = varint(rng.randrange(300)) if kind == 0x04 else b""
        return bytes((kind,)) + varint(rng.randrange(24)) + random_number(rng) + final_size
    return varint(kind) + b"".join(random_number(rng) for _ in range(rng.randrange(3)))


@pytest.mark.parametrize("seed", range(8))
def test_random_frames(seed: int) -> None:
    rng = random.Random(seed)
    world = World(AioquicEndpoint, seed, delay_s=0.001)

    def answer(event: tuple[object, ...]) -> None:
        kind, conn, *rest = event
        endpoint = world.server.endpoint
        if kind is EventKind.DATA and isinstance(conn, int) and isinstance(rest[0], int):
            action = rng.randrange(5)
            if action == 0 and not rest[0] & 2 and rest[2]:
                endpoint.send(conn, rest[0], b"reply", True)
            elif action == 1:
                endpoint.pause(conn, rest[0])
            elif action == 2:
                endpoint.resume(conn, rest[0])
            elif action == 3:
                endpoint.stop_sending(conn, rest[0], 7)
            elif not rest[0] & 2:
                endpoint.reset(conn, rest[0], 9)

    world.server.handler = answer
    addresses = [world.network.link("10.0.0.1", 60_000 + index) for index in range(8)]
    for _ in range(25):
        number = world.connect()
        world.network.run_for(0.2)
        client = world.client.endpoint
        assert isinstance(client, AioquicEndpoint)
        quic = client._connections[number]
        for _ in range(12):
            if number not in client.connections() or quic.is_closing:
                break
            builder = QuicPacketBuilder(
                host_cid=quic.host_cid,
                is_client=True,
                max_datagram_size=1200,
                packet_number=quic._packet_number,
                peer_cid=quic._peer_cid.cid,
                version=1,
            )
            builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[tls.Epoch.ONE_RTT])
            payload = b"".join(random_frame(rng) for _ in range(rng.randint(1, 8)))
            builder._buffer.push_bytes(payload or b"\x01")
            datagrams, _ = builder.flush()
            quic._packet_number = builder.packet_number
            source = world.client.link if rng.random() < 0.8 else rng.choice(addresses)
            source.send([(data, SERVER_ADDRESS) for data in datagrams])
            world.network.run_for(0.01)
        client.close(number, 0x100, "")
        world.network.run_for(0.1)
    faults = [event for event in world.server.of(EventKind.CLOSED) if event[2] == QuicErrorCode.INTERNAL_ERROR and not event[5]]
    assert faults == []
    assert len(world.server.of(EventKind.CLOSED)) == 25
    world.connect()
