"""Beginning and end of a connection."""

from __future__ import annotations

from quicrpc.quic.engine import EventKind
from quicrpc.testing.engine_suite.world import SERVER_ADDRESS, Check, EngineFactory, World, authority

__all__ = ["CHECKS"]


def handshake_completes(engine: EngineFactory, seed: int) -> None:
    """Both sides report it once, and know what was agreed."""
    world = World(engine, seed)
    conn = world.connect()
    assert [event[0] for event in world.server.events[:2]] == [EventKind.OPEN, EventKind.HANDSHAKE_DONE]
    for observed, number in ((world.client, conn), (world.server, world.server_conn())):
        info = observed.endpoint.info(number)
        assert (info.alpn, info.quic_version, info.server_name, info.resumed) == ("h3", 1, "localhost", False)
        assert info.cipher.startswith("TLS_")
        assert observed.endpoint.connections() == [number]
    assert len(world.client.endpoint.peer_certificates(conn)) == 1
    assert world.server.endpoint.peer_certificates(world.server_conn()) == []


def no_common_protocol_is_refused(engine: EngineFactory, seed: int) -> None:
    """TLS alert no_application_protocol (RFC 9001, 8.1)."""
    world = World(engine, seed, client={"alpn": ("other",)})
    assert world.refused()[2] == 0x100 + 120


def close_reaches_the_peer(engine: EngineFactory, seed: int) -> None:
    """Code and reason arrive; both sides report CLOSED once, last, and drop what comes after."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    world.client.endpoint.close(conn, 0x10C, "done")
    world.network.run_until(lambda: world.server.of(EventKind.CLOSED))
    world.network.run_for(5)
    assert world.client.events[-1] == (EventKind.CLOSED, conn, 0x10C, "done", True, False)
    assert world.server.events[-1] == (EventKind.CLOSED, world.server_conn(), 0x10C, "done", True, True)
    assert world.client.endpoint.connections() == world.server.endpoint.connections() == []
    assert world.client.endpoint.send(conn, stream, b"late", True)
    assert world.client.endpoint.open(conn, True) is None


def a_lost_close_is_repeated(engine: EngineFactory, seed: int) -> None:
    """A peer that keeps sending is told again (RFC 9000, 10.2.1)."""
    world = World(engine, seed)
    conn = world.connect()
    world.network.run_for(1)
    world.network.loss = 1.0
    world.server.endpoint.close(world.server_conn(), 0x101, "lost")
    world.network.run_until(lambda: world.server.of(EventKind.CLOSED))
    world.network.loss = 0.0
    world.client.endpoint.ping(conn)
    world.network.run_until(lambda: world.client.of(EventKind.CLOSED), limit_s=1)
    assert world.client.events[-1] == (EventKind.CLOSED, conn, 0x101, "lost", True, True)


def a_long_reason_is_cut(engine: EngineFactory, seed: int) -> None:
    """A reason that fits no packet must not keep the close from being sent."""
    world = World(engine, seed)
    conn = world.connect()
    world.client.endpoint.close(conn, 0x100, "\N{SNOWMAN}" * 1000)
    world.network.run_until(lambda: world.server.of(EventKind.CLOSED))
    reason = world.server.of(EventKind.CLOSED)[0][3]
    assert reason
    assert set(reason) == {"\N{SNOWMAN}"}


def idle_connection_times_out(engine: EngineFactory, seed: int) -> None:
    """Silence ends a connection on both sides, at the smaller of the two limits, without a packet."""
    world = World(engine, seed, client={"idle_timeout_s": 7.0})
    conn = world.connect()
    start = world.network.clock.now
    world.network.run_until(lambda: world.client.of(EventKind.CLOSED) and world.server.of(EventKind.CLOSED))
    assert world.client.events[-1] == (EventKind.CLOSED, conn, 0, "idle timeout", False, False)
    assert world.server.events[-1] == (EventKind.CLOSED, world.server_conn(), 0, "idle timeout", False, False)
    assert 6.5 < world.network.clock.now - start < 8


def ping_keeps_alive(engine: EngineFactory, seed: int) -> None:
    """A PING and its acknowledgement start the idle period again."""
    world = World(engine, seed, client={"idle_timeout_s": 5.0})
    conn = world.connect()
    for _ in range(5):
        world.network.run_for(3)
        world.client.endpoint.ping(conn)
    assert not world.client.of(EventKind.CLOSED)
    assert not world.server.of(EventKind.CLOSED)


def handshake_has_a_deadline(engine: EngineFactory, seed: int) -> None:
    """A client gives up on silence; a server gives up on a client that falls silent in the middle."""
    world = World(engine, seed, client={"handshake_timeout_s": 3.0}, server={"handshake_timeout_s": 5.0})
    start = world.network.clock.now
    world.network.tap = lambda data, source, destination: [data] if destination == SERVER_ADDRESS else []
    event = world.refused()
    assert event[2:] == (0, "handshake timeout", False, False)
    assert world.network.clock.now - start < 3.5
    world.network.run_until(lambda: world.server.of(EventKind.CLOSED))
    assert world.network.clock.now - start < 5.5


def keepalives_do_not_extend_the_deadline(engine: EngineFactory, seed: int) -> None:
    """A client that repeats its first flight for ever is dropped all the same."""
    world = World(engine, seed, server={"handshake_timeout_s": 4.0}, client={"handshake_timeout_s": 60.0})
    world.network.tap = lambda data, source, destination: [data] if destination == SERVER_ADDRESS else []
    world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
    world.network.run_until(lambda: world.server.of(EventKind.OPEN))
    start = world.network.clock.now
    world.network.run_until(lambda: world.server.of(EventKind.CLOSED))
    assert 3.9 < world.network.clock.now - start < 4.5


def a_draining_server_refuses(engine: EngineFactory, seed: int) -> None:
    """New connections get CONNECTION_REFUSED, old ones go on."""
    world = World(engine, seed)
    conn = world.connect()
    world.server.endpoint.refuse_new_connections()
    event = world.refused()
    assert (event[2], event[4], event[5]) == (2, False, True)
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"still here", True)
    world.network.run_until(lambda: world.server_finished(stream))


def half_open_connections_are_bounded(engine: EngineFactory, seed: int) -> None:
    """Above the bound new clients are refused."""
    world = World(engine, seed, server={"max_half_open": 3, "retry_threshold": 100}, client={"handshake_timeout_s": 60.0})
    world.network.tap = lambda data, source, destination: [data] if destination == SERVER_ADDRESS else []
    for _ in range(3):
        world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
    world.network.run_until(lambda: len(world.server.of(EventKind.OPEN)) == 3)
    world.network.tap = None
    assert world.refused(client=world.start_client())[2] == 2
    assert len(world.server.of(EventKind.OPEN)) == 3


def retry_proves_the_address(engine: EngineFactory, seed: int) -> None:
    """Above the threshold a client needs one more round trip, and the server keeps nothing for those that lie."""
    world = World(engine, seed, server={"retry_threshold": 0})
    start = world.network.clock.now
    world.connect()
    assert 0.045 < world.network.clock.now - start < 0.08
    opened = len(world.server.of(EventKind.OPEN))
    world.network.tap = lambda data, source, destination: [data] if destination == SERVER_ADDRESS else []
    world.client.endpoint.connect(SERVER_ADDRESS, "localhost")
    world.network.run_for(3)
    assert len(world.server.of(EventKind.OPEN)) == opened


def migration_goes_on(engine: EngineFactory, seed: int) -> None:
    """A client that changes its socket keeps its streams; the server follows."""
    world = World(engine, seed)
    conn = world.connect()
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"before ", False)
    world.network.run_for(1)
    old, new = world.client.link, world.network.link("10.0.0.9", 999)
    world.client.link = new
    world.client.endpoint.migrate(new)
    assert old.is_closed
    world.client.endpoint.send(conn, stream, b"after", True)
    world.network.run_until(lambda: world.server_finished(stream))
    assert world.server_received(stream) == b"before after"
    world.network.run_until(lambda: world.server.endpoint.info(world.server_conn()).peer_address == new.local_address(), limit_s=5)
    world.server.endpoint.send(world.server_conn(), stream, b"reply", True)
    world.network.run_until(lambda: world.client.finished)


def a_rebound_address_is_followed(engine: EngineFactory, seed: int) -> None:
    """A NAT gives the client another port without its knowledge: streams go on both ways."""
    world = World(engine, seed)
    conn = world.connect()
    world.network.run_for(1)
    inside, outside = world.client.link, world.network.link("10.0.0.1", 777)

    def translate(data: bytes, source: object, destination: object) -> list[bytes]:
        if source == inside.local_address():
            outside.send([(data, SERVER_ADDRESS)])
            return []
        if destination == outside.local_address():
            inside.inbox.append((data, SERVER_ADDRESS))
        return [data]

    world.network.tap = translate
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, bytes(50_000), True)
    world.network.run_until(lambda: world.server_finished(stream))
    world.server.endpoint.send(world.server_conn(), stream, bytes(50_000), True)
    world.network.run_until(lambda: world.client.finished, limit_s=5)


def a_lost_server_state_is_noticed(engine: EngineFactory, seed: int) -> None:
    """A restarted server with the same key answers with a stateless reset, and the client believes it."""
    world = World(engine, seed, server={"reset_key": bytes(range(32))})
    conn = world.connect()
    world.network.run_for(1)
    world.network.forget(world.server)
    world.server = world.start_server()
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, bytes(100), False)
    world.network.run_until(lambda: world.client.of(EventKind.CLOSED), limit_s=2)
    assert world.client.events[-1] == (EventKind.CLOSED, conn, 0, "stateless reset", False, True)


def shutdown_says_goodbye(engine: EngineFactory, seed: int) -> None:
    """Peers learn of it at once, with H3_NO_ERROR."""
    world = World(engine, seed)
    conn = world.connect()
    world.server.endpoint.shutdown(world.network.clock.now)
    world.network.run_until(lambda: world.client.of(EventKind.CLOSED), limit_s=1)
    assert world.client.events[-1] == (EventKind.CLOSED, conn, 0x100, "", True, True)
    assert world.server.link.is_closed


def certificates_can_be_replaced(engine: EngineFactory, seed: int) -> None:
    """New connections see the new certificate, old ones do not notice."""
    world = World(engine, seed)
    first = world.connect()
    world.server.endpoint.set_certificates([authority().issue(("localhost",))])
    second = world.connect()
    chains = [world.client.endpoint.peer_certificates(conn) for conn in (first, second)]
    assert chains[0] != chains[1]


CHECKS: tuple[Check, ...] = (
    handshake_completes,
    no_common_protocol_is_refused,
    close_reaches_the_peer,
    a_lost_close_is_repeated,
    a_long_reason_is_cut,
    idle_connection_times_out,
    ping_keeps_alive,
    handshake_has_a_deadline,
    keepalives_do_not_extend_the_deadline,
    a_draining_server_refuses,
    half_open_connections_are_bounded,
    retry_proves_the_address,
    migration_goes_on,
    a_rebound_address_is_followed,
    a_lost_server_state_is_noticed,
    shutdown_says_goodbye,
    certificates_can_be_replaced,
)
