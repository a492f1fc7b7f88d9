"""Corners of the endpoint that the suite of engines does not ask about."""

from __future__ import annotations

import gc
import weakref

import pytest
from aioquic.quic.packet import QuicProtocolVersion

from quicrpc.quic.aioquic import AioquicEndpoint
from quicrpc.quic.aioquic.tickets import load_ticket
from quicrpc.quic.engine import EventKind, SessionTicketRecord
from quicrpc.testing.engine_suite.world import World
from quicrpc.testing.network import ObservedEndpoint


def engine(observed: ObservedEndpoint) -> AioquicEndpoint:
    assert isinstance(observed.endpoint, AioquicEndpoint)
    return observed.endpoint


def test_closed_connections_leave_nothing_behind() -> None:
    world = World(AioquicEndpoint, 1)
    references = []
    for _ in range(10):
        conn = world.connect()
        references.append(weakref.ref(engine(world.server)._connections[world.server_conn()]))
        world.client.endpoint.close(conn, 0x100, "")
        world.network.run_for(0.1)
    world.network.run_for(10)
    gc.collect()
    for observed in (world.client, world.server):
        assert engine(observed)._routes == {}
        assert engine(observed)._connections == {}
    assert [reference() for reference in references] == [None] * 10


def test_half_open_connections_are_counted_right() -> None:
    world = World(AioquicEndpoint, 1)
    for _ in range(3):
        world.connect()
    assert engine(world.server)._half_open == 0
    world.refused(client=world.start_client(alpn=("other",)))
    world.network.run_for(1)
    assert engine(world.server)._half_open == 0


def test_undecryptable_beginnings_keep_no_state() -> None:
    world = World(AioquicEndpoint, 1)
    first: list[bytes] = []

    def catch(data: bytes, _source: object, _destination: object) -> list[bytes]:
        first.append(data)
        return []

    world.network.tap = catch
    world.client.endpoint.connect(("10.0.0.2", 443), "localhost")
    world.client.turn()
    damaged = bytearray(first[0])
    damaged[100] ^= 1
    world.network.tap = None
    world.network.link("10.6.6.6").send([(bytes(damaged), ("10.0.0.2", 443))])
    world.network.run_for(0.1)
    assert world.server.of(EventKind.OPEN) == []
    assert engine(world.server)._routes == {}


def test_connection_ids_carry_the_prefix() -> None:
    world = World(AioquicEndpoint, 1, server={"connection_id_prefix": lambda: 0xA5})
    conn = world.connect()
    world.network.run_for(1)
    client = engine(world.client)._connections[conn]
    issued = [client._peer_cid, *client._peer_cid_available]
    assert len(issued) == 8
    assert {item.cid[0] for item in issued} == {0xA5}


def test_version_2_is_spoken() -> None:
    world = World(AioquicEndpoint, 1)
    engine(world.client)._configuration.original_version = int(QuicProtocolVersion.VERSION_2)
    conn = world.connect()
    assert world.client.endpoint.info(conn).quic_version in (1, 0x6B3343CF)


class BrokenStore:
    def put(self, record: SessionTicketRecord) -> None:
        raise OSError("disk full")

    def take(self, ticket: bytes, *, epoch: str) -> SessionTicketRecord | None:
        raise OSError("disk gone")


def test_a_broken_ticket_store_means_full_handshakes() -> None:
    world = World(AioquicEndpoint, 1, server={"ticket_store": BrokenStore()})
    ticket = world.ticket()
    assert not world.client.endpoint.info(world.connect(ticket=ticket)).resumed


def test_without_a_store_there_are_no_tickets() -> None:
    world = World(AioquicEndpoint, 1, server={"ticket_store": None})
    world.connect()
    world.network.run_for(1)
    assert world.tickets == []


def test_tickets_tell_their_lifetime() -> None:
    world = World(AioquicEndpoint, 1, server={"ticket_lifetime_s": 77.0})
    session, _ = load_ticket(world.ticket())
    assert (session.not_valid_after - session.not_valid_before).total_seconds() == 77
    (record,) = world.store.records.values()
    assert record.expires_at - record.issued_at == 77.0


def test_misuse_is_an_error() -> None:
    world = World(AioquicEndpoint, 1)
    conn = world.connect()
    stream = world.open(conn)
    endpoint = world.client.endpoint
    endpoint.send(conn, stream, b"", True)
    with pytest.raises(RuntimeError, match="FIN"):
        endpoint.send(conn, stream, b"more", False)
    with pytest.raises(ValueError, match="not open for sending"):
        endpoint.send(conn, 400, b"never opened", False)
    with pytest.raises(ValueError, match="not open for sending"):
        endpoint.send(conn, 3, b"theirs", False)
    with pytest.raises(KeyError):
        endpoint.info(99)
    with pytest.raises(RuntimeError, match="client migrates"):
        world.server.endpoint.migrate(world.network.link())
    with pytest.raises(ValueError, match="a server needs one"):
        world.server.endpoint.set_certificates([])


def test_commands_for_unknown_connections_and_streams_do_nothing() -> None:
    world = World(AioquicEndpoint, 1)
    conn = world.connect()
    endpoint = world.client.endpoint
    for number in (conn, 99):
        endpoint.pause(number, 44)
        endpoint.resume(number, 44)
        endpoint.reset(number, 44, 1)
        endpoint.stop_sending(number, 44, 1)
        endpoint.ping(number)
    endpoint.close(99, 0, "")
    assert endpoint.peer_certificates(99) == []
    world.network.run_for(1)
    assert endpoint.connections() == [conn]


def test_idle_connections_ask_for_few_wakeups() -> None:
    """Nothing is polled: an idle hour of fifty connections costs a handful of turns."""
    world = World(AioquicEndpoint, 1, client={"idle_timeout_s": 4000.0}, server={"idle_timeout_s": 4000.0})
    for _ in range(50):
        world.connect()
    world.network.run_for(5)
    endpoint, clock = engine(world.server), world.network.clock
    turns = 0
    end = clock.now + 3600
    while (due := endpoint.flush(clock.now)) is not None and due < end:
        clock.now = max(clock.now, due)
        endpoint.poll(clock.now, False)
        turns += 1
    assert turns <= 100
