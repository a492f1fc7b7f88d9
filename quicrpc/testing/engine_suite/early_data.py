"""Resumption and 0-RTT."""

from __future__ import annotations

from functools import partial

from quicrpc.quic.engine import EventKind
from quicrpc.testing.engine_suite.streams import echo
from quicrpc.testing.engine_suite.world import SERVER_ADDRESS, Check, EngineFactory, World, pattern

__all__ = ["CHECKS"]


def _send_early(world: World, ticket: bytes, data: bytes = b"early") -> tuple[int, int]:
    conn = world.client.endpoint.connect(SERVER_ADDRESS, "localhost", ticket)
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, data, True)
    return conn, stream


def early_data_arrives_at_once(engine: EngineFactory, seed: int) -> None:
    """Half a round trip after ``connect``, marked early, before the handshake is done."""
    world = World(engine, seed)
    ticket = world.ticket()
    opened, start = len(world.server.of(EventKind.OPEN)), world.network.clock.now
    conn, stream = _send_early(world, ticket)
    world.network.run_until(lambda: len(world.server.of(EventKind.OPEN)) > opened and world.server_finished(stream))
    assert world.network.clock.now - start < 0.011
    assert world.server.of(EventKind.DATA)[-1][5]
    world.network.run_until(lambda: (EventKind.HANDSHAKE_DONE, world.server_conn()) in world.server.events)
    info = world.client.endpoint.info(conn)
    assert info.resumed
    assert info.early_data_accepted
    assert len(world.client.endpoint.peer_certificates(conn)) == 1  # remembered with the ticket


def rejected_early_data_is_sent_again(engine: EngineFactory, seed: int) -> None:
    """Without the ticket a full handshake follows and the data arrives once, no longer early, without waiting for a timer."""
    world = World(engine, seed)
    ticket = world.ticket()
    world.store.records.clear()
    opened, start = len(world.server.of(EventKind.OPEN)), world.network.clock.now
    data = pattern(8_000)
    conn, stream = _send_early(world, ticket, data)
    world.network.run_until(lambda: len(world.server.of(EventKind.OPEN)) > opened and world.server_finished(stream))
    assert world.network.clock.now - start < 0.035  # one and a half round trips
    assert world.server_received(stream) == data
    assert not any(event[5] for event in world.server.of(EventKind.DATA))
    assert not world.client.endpoint.info(conn).early_data_accepted


def rejected_early_data_obeys_smaller_limits(engine: EngineFactory, seed: int) -> None:
    """The server that refuses it may allow less than the one that gave the ticket: streams wait instead of breaking its rules."""
    world = World(engine, seed)
    ticket = world.ticket()
    world.network.forget(world.server)
    world.server = world.start_server(max_streams_bidi=2, stream_window_bytes=4_096, ticket_epoch="new")
    echo(world)
    conn = world.client.endpoint.connect(SERVER_ADDRESS, "localhost", ticket)
    streams = [world.open(conn) for _ in range(5)]
    for stream in streams:
        world.client.endpoint.send(conn, stream, pattern(6_000, stream), True)
    world.network.run_until(lambda: len(world.client.finished) == 5)
    assert not world.closed(world.client, conn)
    assert all(bytes(world.client.received[conn, stream]) == pattern(6_000, stream) for stream in streams)


def a_ticket_works_once(engine: EngineFactory, seed: int) -> None:
    """The second use gets a full handshake: early data is executed at most once."""
    world = World(engine, seed)
    ticket = world.ticket()
    for resumed in (True, False):
        conn = world.connect(ticket=ticket)
        assert world.client.endpoint.info(conn).resumed is resumed


def a_replayed_first_flight_is_not_early_again(engine: EngineFactory, seed: int) -> None:
    """An attacker who repeats the first datagrams gets nothing delivered."""
    world = World(engine, seed)
    ticket = world.ticket()
    flight: list[tuple[bytes, object]] = []

    def record(data: bytes, source: object, destination: object) -> list[bytes]:
        if destination == SERVER_ADDRESS and len(flight) < 2:
            flight.append((data, destination))
        return [data]

    world.network.tap = record
    _send_early(world, ticket)
    world.network.run_for(1)
    world.network.tap = None
    early = [event for event in world.server.of(EventKind.DATA) if event[5]]
    assert len(early) == 1
    for _ in range(10):
        attacker = world.network.link("10.6.6.6")
        attacker.send([(data, SERVER_ADDRESS) for data, _ in flight])
        world.network.run_for(0.1)
    world.network.run_for(15)
    assert [event for event in world.server.of(EventKind.DATA) if event[5]] == early


def tickets_of_another_epoch_are_refused(engine: EngineFactory, seed: int) -> None:
    """After a change of configuration nobody resumes under the old one."""
    world = World(engine, seed, server={"ticket_epoch": "one"})
    ticket = world.ticket()
    world.network.forget(world.server)
    world.server = world.start_server(ticket_epoch="two")
    assert not world.client.endpoint.info(world.connect(ticket=ticket)).resumed


def tickets_expire(engine: EngineFactory, seed: int) -> None:
    """By the server's wall clock."""
    now = [1_800_000_000.0]
    wall = {"wall_clock": lambda: now[0]}
    world = World(engine, seed, server={"ticket_lifetime_s": 600.0, **wall})
    tickets = [world.ticket(), world.ticket()]
    now[0] += 599
    assert world.client.endpoint.info(world.connect(ticket=tickets[0])).resumed
    now[0] += 2
    assert not world.client.endpoint.info(world.connect(ticket=tickets[1])).resumed


def early_data_can_be_switched_off(engine: EngineFactory, seed: int) -> None:
    """On either side; the session is still resumed when the client declines."""
    world = World(engine, seed)
    ticket = world.ticket()
    client = world.start_client(early_data=False)
    conn = client.endpoint.connect(SERVER_ADDRESS, "localhost", ticket)
    assert client.endpoint.open(conn, True) is None
    world.network.run_until(lambda: client.of(EventKind.STREAMS_AVAILABLE))
    assert client.endpoint.info(conn).resumed
    world = World(engine, seed, server={"early_data": False})
    conn = world.connect(ticket=world.ticket())
    info = world.client.endpoint.info(conn)
    assert info.resumed
    assert not info.early_data_accepted


def a_useless_ticket_does_no_harm(engine: EngineFactory, seed: int) -> None:
    """Garbage, or a ticket for another name, means a full handshake."""
    world = World(engine, seed)
    for name, ticket in (("localhost", b""), ("localhost", b"garbage"), ("localhost", b"{}"), ("10.0.0.2", world.ticket())):
        assert not world.client.endpoint.info(world.connect(name=name, ticket=ticket)).resumed


def early_data_survives_loss(engine: EngineFactory, seed: int) -> None:
    """Accepted or not, lost or not: every byte arrives once."""
    world = World(engine, seed)
    tickets = [world.ticket(), world.ticket()]
    world.network.loss = 0.2
    for ticket in tickets:
        data = pattern(20_000, seed)
        conn, stream = _send_early(world, ticket, data)
        world.wait_for(world.client, (EventKind.HANDSHAKE_DONE, conn))
        world.network.run_until(partial(world.server_finished, stream))
        assert world.server_received(stream) == data
        world.store.records.clear()


CHECKS: tuple[Check, ...] = (
    early_data_arrives_at_once,
    rejected_early_data_is_sent_again,
    rejected_early_data_obeys_smaller_limits,
    a_ticket_works_once,
    a_replayed_first_flight_is_not_early_again,
    tickets_of_another_epoch_are_refused,
    tickets_expire,
    early_data_can_be_switched_off,
    a_useless_ticket_does_no_harm,
    early_data_survives_loss,
)
