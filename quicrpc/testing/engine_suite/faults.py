"""A network at its worst, and strangers on it."""

from __future__ import annotations

import random

from quicrpc.quic.engine import EventKind
from quicrpc.testing.engine_suite.streams import echo
from quicrpc.testing.engine_suite.world import SERVER_ADDRESS, Check, EngineFactory, World, Writer, pattern

__all__ = ["CHECKS"]


def handshakes_survive_heavy_loss(engine: EngineFactory, seed: int) -> None:
    """Ten handshakes and small transfers, 30 % lost each way."""
    world = World(engine, seed, loss=0.3, client={"handshake_timeout_s": 60.0}, server={"handshake_timeout_s": 60.0})
    echo(world)
    for _ in range(10):
        conn = world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
        world.wait_for(world.client, (EventKind.HANDSHAKE_DONE, conn))
        stream = world.open(conn)
        world.client.endpoint.send(conn, stream, b"hello", True)
        world.wait_finished(world.client, conn, stream)


def a_transfer_survives_loss_and_corruption(engine: EngineFactory, seed: int) -> None:
    """Lost, doubled, late and damaged datagrams: the bytes are the same."""
    world = World(engine, seed, loss=0.05, duplicate=0.05, reorder=0.1)
    rng = random.Random(seed)

    def corrupt(data: bytes, source: object, destination: object) -> list[bytes]:
        if rng.random() > 0.05:
            return [data]
        damaged = bytearray(data)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        return [bytes(damaged)]

    world.network.tap = corrupt
    conn = world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
    world.network.run_until(lambda: (EventKind.HANDSHAKE_DONE, conn) in world.client.events)
    stream = world.open(conn)
    data = pattern(300_000, seed)
    Writer(world.client, conn, stream, data)
    world.network.run_until(lambda: world.server_finished(stream))
    assert world.server_received(stream) == data


def an_outage_is_survived(engine: EngineFactory, seed: int) -> None:
    """Two seconds of nothing in the middle of a transfer."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    Writer(world.client, conn, stream, bytes(3_000_000))
    world.network.run_until(lambda: len(world.server_received(stream)) > 100_000)
    world.network.loss = 1.0
    world.network.run_for(2)
    world.network.loss = 0.0
    world.network.run_until(lambda: world.server_finished(stream), limit_s=20)


def the_smallest_mtu_is_enough(engine: EngineFactory, seed: int) -> None:
    """1200 bytes (RFC 9000, 14.1)."""
    world = World(engine, seed, mtu=1200)
    conn = world.connect()
    stream = world.open(conn)
    Writer(world.client, conn, stream, bytes(100_000))
    world.network.run_until(lambda: world.server_finished(stream), limit_s=5)


def garbage_changes_nothing(engine: EngineFactory, seed: int) -> None:
    """Random datagrams open nothing, close nothing, and get less back than they cost."""
    world = World(engine, seed)
    conn = world.connect()
    rng = random.Random(seed)
    stranger = world.network.link("10.6.6.6", 666)
    for _ in range(300):
        size = rng.choice((1, 5, 20, 43, 200, 1199, 1200, 1472))
        data = bytearray(rng.randbytes(size))
        if rng.random() < 0.5:  # a plausible long header
            data[0] |= 0xC0
            data[1:5] = rng.choice((b"\0\0\0\1", b"\0\0\0\0", b"\x6b\x33\x43\xcf", b"\x0a\x0a\x0a\x0a"))[: max(0, size - 1)]
        stranger.send([(bytes(data), SERVER_ADDRESS)])
        answered = sum(len(answer) for answer, _ in stranger.inbox)
        world.network.run_for(0.05)
        assert sum(len(answer) for answer, _ in stranger.inbox) - answered <= size
    assert world.server.endpoint.connections() == [world.server_conn()]
    assert not world.server.of(EventKind.CLOSED)
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"unharmed", True)
    world.network.run_until(lambda: world.server_finished(stream))


def an_unknown_version_is_negotiated(engine: EngineFactory, seed: int) -> None:
    """Only for datagrams a real client would send, and never in answer to a negotiation."""
    world = World(engine, seed)
    stranger = world.network.link("10.6.6.6", 666)
    header = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08destinat" + b"\x04sour"
    stranger.send([(header + bytes(1199 - len(header)), SERVER_ADDRESS)])
    stranger.send([(header[:1] + bytes(4) + header[5:] + bytes(1200 - len(header)), SERVER_ADDRESS)])
    world.network.run_for(1)
    assert stranger.inbox == []
    stranger.send([(header + bytes(1200 - len(header)), SERVER_ADDRESS)])
    world.network.run_for(1)
    ((answer, _),) = stranger.inbox
    assert answer[1:5] == bytes(4)
    assert answer[5:10] == b"\x04sour"
    assert b"\0\0\0\1" in answer[10:]


def one_fault_spares_the_others(engine: EngineFactory, seed: int) -> None:
    """A connection that breaks the rules (packets replaced by forgeries) leaves its neighbours alone."""
    world = World(engine, seed)
    echo(world)
    other = world.start_client()
    first, second = world.connect(), world.connect(client=other)
    rng = random.Random(seed)
    world.network.tap = lambda data, source, destination: (
        [data[:1] + data[1:9] + rng.randbytes(len(data) - 9), data] if source == world.client.link.local_address() else [data]
    )
    for observed, conn in ((world.client, first), (other, second)):
        stream = observed.endpoint.open(conn, True)
        assert stream is not None
        observed.endpoint.send(conn, stream, bytes(30_000), True)
    world.network.run_until(lambda: other.finished and world.client.finished)


CHECKS: tuple[Check, ...] = (
    handshakes_survive_heavy_loss,
    a_transfer_survives_loss_and_corruption,
    an_outage_is_survived,
    the_smallest_mtu_is_enough,
    garbage_changes_nothing,
    an_unknown_version_is_negotiated,
    one_fault_spares_the_others,
)
