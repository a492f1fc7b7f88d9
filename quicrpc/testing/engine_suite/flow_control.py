"""Back-pressure in both directions, to the byte."""

from __future__ import annotations

from functools import partial

from quicrpc.quic.engine import Event, EventKind
from quicrpc.testing.engine_suite.world import Check, EngineFactory, World, Writer, pattern

__all__ = ["CHECKS"]

_STREAM = 128 * 1024
_CONNECTION = 512 * 1024
_WINDOWS = {"stream_window_bytes": _STREAM, "connection_window_bytes": _CONNECTION}


def _pause_each_stream(world: World) -> None:
    seen: set[tuple[int, int]] = set()

    def handle(event: Event) -> None:
        if event[0] is EventKind.DATA and event[1:3] not in seen:
            seen.add(event[1:3])
            world.server.endpoint.pause(event[1], event[2])

    world.server.handler = handle


def a_paused_stream_stops_at_its_window(engine: EngineFactory, seed: int) -> None:
    """Exactly the window arrives, then nothing; after ``resume`` all the rest."""
    world = World(engine, seed, server=_WINDOWS)
    _pause_each_stream(world)
    conn = world.connect()
    stream = world.open(conn)
    data = pattern(1_000_000)
    world.client.endpoint.send(conn, stream, data[:1], False)
    world.network.run_until(lambda: world.server_received(stream))
    Writer(world.client, conn, stream, data[1:])
    world.network.run_for(30)
    assert len(world.server_received(stream)) == _STREAM
    world.server.endpoint.resume(world.server_conn(), stream)
    world.network.run_until(lambda: world.server_finished(stream))
    assert world.server_received(stream) == data


def paused_streams_stop_at_the_connection_window(engine: EngineFactory, seed: int) -> None:
    """Together they hold no more than the connection's window; another stream moves on as soon as one is resumed."""
    world = World(engine, seed, server=_WINDOWS)
    _pause_each_stream(world)
    conn = world.connect()
    streams = [world.open(conn) for _ in range(6)]
    for stream in streams:
        world.client.endpoint.send(conn, stream, b"1", False)
    world.network.run_until(lambda: len(world.server.received) == 6)
    for stream in streams:
        Writer(world.client, conn, stream, bytes(_STREAM - 1))
    world.network.run_for(30)
    assert sum(len(data) for data in world.server.received.values()) == _CONNECTION
    for stream in streams:
        world.server.endpoint.resume(world.server_conn(), stream)
    world.network.run_until(lambda: len(world.server.finished) == 6)


def credit_of_abandoned_streams_comes_back(engine: EngineFactory, seed: int) -> None:
    """Resets, STOP_SENDING and paused data never shrink the connection's window: many windows pass through."""
    world = World(engine, seed, server=_WINDOWS, delay_s=0.002)
    _pause_each_stream(world)
    conn = world.connect()
    for index in range(30):
        stream = world.open(conn)
        world.client.endpoint.send(conn, stream, bytes(200_000), False)
        world.network.run_until(partial(world.server_received, stream))
        world.network.run_for(0.2)
        if index % 3 == 0:
            world.client.endpoint.reset(conn, stream, 1)
        elif index % 3 == 1:
            world.server.endpoint.stop_sending(world.server_conn(), stream, 1)
        else:
            world.server.endpoint.resume(world.server_conn(), stream)
            world.client.endpoint.send(conn, stream, b"", True)
        world.network.run_for(0.5)
    stream = world.open(conn)
    Writer(world.client, conn, stream, bytes(_STREAM))
    world.network.run_until(lambda: len(world.server_received(stream)) == _STREAM, limit_s=5)


def a_resume_after_the_end_counts(engine: EngineFactory, seed: int) -> None:
    """Data taken late, when the stream is long finished, still frees the connection's window."""
    world = World(engine, seed, server=_WINDOWS, delay_s=0.002)
    _pause_each_stream(world)
    conn = world.connect()
    for _ in range(12):
        stream = world.open(conn)
        world.client.endpoint.send(conn, stream, b"1", False)
        world.network.run_until(partial(world.server_received, stream))
        Writer(world.client, conn, stream, bytes(100_000))
        world.network.run_until(partial(world.server_finished, stream), limit_s=5)
        world.server.endpoint.send(world.server_conn(), stream, b"", True)
        world.network.run_for(0.2)
        world.server.endpoint.resume(world.server_conn(), stream)


def writers_wait_at_the_high_watermark(engine: EngineFactory, seed: int) -> None:
    """``send`` says no with the high watermark unsent, WRITABLE comes at the low one, and nobody is forgotten."""
    marks = {"send_high_bytes": 50_000, "send_low_bytes": 20_000}
    world = World(engine, seed, client=marks)
    conn = world.connect()
    stream = world.open(conn)
    send = world.client.endpoint.send
    assert send(conn, stream, bytes(49_999), False)
    assert not send(conn, stream, b"1", False)
    world.client.endpoint.flush(world.network.clock.now)
    assert not world.client.of(EventKind.WRITABLE)
    world.network.run_until(lambda: world.client.of(EventKind.WRITABLE))
    assert len(world.client.of(EventKind.WRITABLE)) == 1
    writer = Writer(world.client, conn, stream, bytes(2_000_000))
    world.network.run_until(lambda: world.server_finished(stream))
    assert writer.refusals > 10


def a_blocked_writer_wakes_up_after_a_stall(engine: EngineFactory, seed: int) -> None:
    """Back-pressure goes all the way: reader, window, writer, and back."""
    world = World(engine, seed, server=_WINDOWS, loss=0.03)
    _pause_each_stream(world)
    conn = world.connect()
    stream = world.open(conn)
    data = pattern(600_000)
    writer = Writer(world.client, conn, stream, data)
    for _ in range(20):
        world.network.run_for(5)
        left = len(writer.rest)
        world.server.endpoint.resume(world.server_conn(), stream)
        world.server.endpoint.pause(world.server_conn(), stream)
        if not left:
            break
    world.server.endpoint.resume(world.server_conn(), stream)
    world.network.run_until(lambda: world.server_finished(stream))
    assert world.server_received(stream) == data


CHECKS: tuple[Check, ...] = (
    a_paused_stream_stops_at_its_window,
    paused_streams_stop_at_the_connection_window,
    credit_of_abandoned_streams_comes_back,
    a_resume_after_the_end_counts,
    writers_wait_at_the_high_watermark,
    a_blocked_writer_wakes_up_after_a_stall,
)
