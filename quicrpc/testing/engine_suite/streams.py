"""Streams: order, ends, limits and turns."""

from __future__ import annotations

from quicrpc.quic.engine import Event, EventKind
from quicrpc.testing.engine_suite.world import Check, EngineFactory, World, Writer, pattern

__all__ = ["CHECKS", "echo"]


def echo(world: World) -> None:
    """Let the server send back what it gets, with back-pressure ignored (tests stay below the windows or count on memory)."""

    def handle(event: Event) -> None:
        if event[0] is EventKind.DATA:
            _, conn, stream, data, fin, _ = event
            world.server.endpoint.send(conn, stream, data, fin)

    world.server.handler = handle


def bytes_arrive_in_order(engine: EngineFactory, seed: int) -> None:
    """Both directions of one stream, FIN included."""
    world = World(engine, seed)
    echo(world)
    conn = world.connect()
    stream = world.open(conn)
    data = pattern(100_000, seed)
    Writer(world.client, conn, stream, data)
    world.network.run_until(lambda: (conn, stream) in world.client.finished)
    assert bytes(world.client.received[conn, stream]) == data
    assert not any(event[5] for event in world.server.of(EventKind.DATA))


def an_empty_fin_arrives(engine: EngineFactory, seed: int) -> None:
    """A stream of no bytes is a stream."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"", True)
    world.network.run_until(lambda: world.server_finished(stream))
    assert world.server_received(stream) == b""


def unidirectional_streams_work_from_both_sides(engine: EngineFactory, seed: int) -> None:
    """As HTTP/3 control streams need them."""
    world = World(engine, seed)
    conn = world.connect()
    up = world.open(conn, bidirectional=False)
    down = world.server.endpoint.open(world.server_conn(), False)
    assert up == 2
    assert down == 3
    world.client.endpoint.send(conn, up, b"up", False)
    world.server.endpoint.send(world.server_conn(), down, b"down", False)
    world.network.run_until(
        lambda: world.server_received(up) == b"up" and bytes(world.client.received.get((conn, down), b"")) == b"down"
    )


def many_streams_in_parallel(engine: EngineFactory, seed: int) -> None:
    """Forty streams under loss, reordering and duplicates: every byte of each arrives in its place."""
    world = World(engine, seed, loss=0.05, reorder=0.1, duplicate=0.05, jitter_s=0.005)
    echo(world)
    conn = world.connect()
    expected = {}
    for index in range(40):
        stream = world.open(conn)
        expected[conn, stream] = pattern(5_000 + 997 * index, index)
        Writer(world.client, conn, stream, expected[conn, stream])
    world.network.run_until(lambda: len(world.client.finished) == 40)
    assert {key: bytes(value) for key, value in world.client.received.items()} == expected


def streams_take_turns(engine: EngineFactory, seed: int) -> None:
    """No stream starves: when the first of four equal ones ends, the others are nearly there."""
    world = World(engine, seed)
    conn = world.connect()
    streams = [world.open(conn) for _ in range(4)]
    for stream in streams:
        Writer(world.client, conn, stream, bytes(300_000))
    world.network.run_until(lambda: world.server.finished)
    assert all(len(world.server_received(stream)) > 200_000 for stream in streams)


def reset_reaches_the_peer(engine: EngineFactory, seed: int) -> None:
    """RESET with its code; the other direction lives on; what is sent afterwards is dropped."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"half a mess", False)
    world.network.run_until(lambda: world.server_received(stream))
    world.client.endpoint.reset(conn, stream, 0x10C)
    assert world.client.endpoint.send(conn, stream, b"age", True)
    world.network.run_until(lambda: world.server.of(EventKind.RESET))
    assert world.server.events[-1] == (EventKind.RESET, world.server_conn(), stream, 0x10C)
    world.server.endpoint.send(world.server_conn(), stream, b"why?", True)
    world.network.run_until(lambda: (conn, stream) in world.client.finished)


def a_reset_after_everything_is_nothing(engine: EngineFactory, seed: int) -> None:
    """Data and FIN that were sent still arrive."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"all of it", True)
    world.client.endpoint.flush(world.network.clock.now)
    world.client.endpoint.reset(conn, stream, 0x10C)
    world.network.run_until(lambda: world.server_finished(stream))
    assert not world.server.of(EventKind.RESET)


def stop_sending_reaches_the_peer(engine: EngineFactory, seed: int) -> None:
    """STOPPED with its code; the asker hears nothing more of the stream."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    Writer(world.client, conn, stream, bytes(2_000_000))
    world.network.run_until(lambda: len(world.server_received(stream)) > 10_000)
    world.server.endpoint.stop_sending(world.server_conn(), stream, 0x100)
    count = len(world.server.events)
    world.network.run_until(lambda: world.client.of(EventKind.STOPPED))
    assert (EventKind.STOPPED, conn, stream, 0x100) in world.client.events
    assert world.client.endpoint.send(conn, stream, b"never mind", True)
    world.network.run_for(5)
    assert len(world.server.events) == count


def a_waiting_writer_hears_of_the_stop(engine: EngineFactory, seed: int) -> None:
    """WRITABLE comes even when the stream can take nothing any more, so that nobody waits for ever."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    assert not world.client.endpoint.send(conn, stream, bytes(1_000_000), False)
    world.network.run_until(lambda: world.server_received(stream))
    world.server.endpoint.pause(world.server_conn(), stream)
    world.network.run_for(1)
    assert not world.client.of(EventKind.WRITABLE)
    world.server.endpoint.stop_sending(world.server_conn(), stream, 0x100)
    world.network.run_until(lambda: world.client.of(EventKind.WRITABLE), limit_s=5)


def the_stream_limit_is_kept_and_raised(engine: EngineFactory, seed: int) -> None:
    """``open`` says None at the limit, and STREAMS_AVAILABLE follows when streams have ended."""
    world = World(engine, seed, server={"max_streams_bidi": 4})
    echo(world)
    conn = world.connect()
    streams = [world.open(conn) for _ in range(4)]
    assert world.client.endpoint.open(conn, True) is None
    world.network.run_for(1)
    assert not world.client.of(EventKind.STREAMS_AVAILABLE)
    for stream in streams:
        world.client.endpoint.send(conn, stream, b"x", True)
    world.network.run_until(lambda: world.client.of(EventKind.STREAMS_AVAILABLE))
    assert world.client.endpoint.open(conn, True) == 16


def streams_can_be_used_up_and_renewed(engine: EngineFactory, seed: int) -> None:
    """Five hundred calls in turn through a limit of sixteen."""
    world = World(engine, seed, server={"max_streams_bidi": 16}, delay_s=0.001)
    echo(world)
    conn = world.connect()
    wanted = 500

    def open_more(event: Event | None = None) -> None:
        nonlocal wanted
        while wanted and (stream := world.client.endpoint.open(conn, True)) is not None:
            wanted -= 1
            world.client.endpoint.send(conn, stream, b"call", True)

    world.client.handler = lambda event: open_more() if event[0] is EventKind.STREAMS_AVAILABLE else None
    open_more()
    world.network.run_until(lambda: len(world.client.finished) == 500)


CHECKS: tuple[Check, ...] = (
    bytes_arrive_in_order,
    an_empty_fin_arrives,
    unidirectional_streams_work_from_both_sides,
    many_streams_in_parallel,
    streams_take_turns,
    reset_reaches_the_peer,
    a_reset_after_everything_is_nothing,
    stop_sending_reaches_the_peer,
    a_waiting_writer_hears_of_the_stop,
    the_stream_limit_is_kept_and_raised,
    streams_can_be_used_up_and_renewed,
)
