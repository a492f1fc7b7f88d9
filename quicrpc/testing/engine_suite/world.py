"""One client and one server of the engine under test, on a simulated network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from quicrpc.quic.engine import (
    CertificateChain,
    DatagramLink,
    Endpoint,
    EndpointOptions,
    Event,
    EventKind,
    SessionTicketRecord,
)
from quicrpc.testing.certificates import CertificateAuthority
from quicrpc.testing.network import ObservedEndpoint, SimulatedNetwork

__all__ = ["SERVER_ADDRESS", "Check", "EngineFactory", "Tickets", "World", "Writer", "authority", "pattern"]

EngineFactory = Callable[[DatagramLink, EndpointOptions], Endpoint]
Check = Callable[[EngineFactory, int], None]

SERVER_ADDRESS = ("10.0.0.2", 443)


@functools.cache
def authority() -> CertificateAuthority:
    """Return the authority that both sides trust."""
    return CertificateAuthority()


@functools.cache
def _server_certificate() -> CertificateChain:
    return authority().issue(("localhost", "10.0.0.2"))


def pattern(size: int, salt: int = 0) -> bytes:
    """Return bytes in which every misplaced piece shows."""
    return b"".join((index * 31 + salt).to_bytes(4, "big") for index in range(size // 4 + 1))[:size]


class Tickets:
    """A single-use ticket store, as plain as can be."""

    def __init__(self) -> None:
        self.records: dict[bytes, SessionTicketRecord] = {}

    def put(self, record: SessionTicketRecord) -> None:
        """Keep a ticket."""
        self.records[record.ticket] = record

    def take(self, ticket: bytes, *, epoch: str) -> SessionTicketRecord | None:
        """Take a ticket out."""
        record = self.records.pop(ticket, None)
        return record if record is not None and record.epoch == epoch else None


class World:
    """A client, a server and the network between them.

    Attributes:
        tickets: Session tickets the client has received, as ``(connection, ticket)``.
        store: The server's ticket store.
    """

    def __init__(
        self,
        engine: EngineFactory,
        seed: int,
        *,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        **network: Any,
    ) -> None:
        self.engine = engine
        self.network = SimulatedNetwork(seed, **network)
        self.tickets: list[tuple[int, bytes]] = []
        self.store = Tickets()
        client_options = EndpointOptions(
            is_client=True,
            root_certificates=authority().certificate_pem,
            ticket_received=lambda conn, ticket: self.tickets.append((conn, ticket)),
        )
        server_options = EndpointOptions(is_client=False, certificates=[_server_certificate()], ticket_store=self.store)
        self.client_options = replace(client_options, **client or {})
        self.server_options = replace(server_options, **server or {})
        self.server = self.start_server()
        self.client = self.start_client()

    def start_server(self, **changes: Any) -> ObservedEndpoint:
        """Put a server on the network's well-known address."""
        link = self.network.link(*SERVER_ADDRESS)
        return self.network.observe(self.engine(link, replace(self.server_options, **changes)), link)

    def start_client(self, **changes: Any) -> ObservedEndpoint:
        """Put another client on the network."""
        link = self.network.link()
        return self.network.observe(self.engine(link, replace(self.client_options, **changes)), link)

    def connect(self, *, client: ObservedEndpoint | None = None, name: str = "localhost", ticket: bytes | None = None) -> int:
        """Connect and wait until both sides have completed the handshake; return the client's number."""
        client = client or self.client
        done = len(self.server.of(EventKind.HANDSHAKE_DONE))
        conn = client.endpoint.connect(SERVER_ADDRESS, name, ticket)
        self.network.run_until(
            lambda: (EventKind.HANDSHAKE_DONE, conn) in client.events and len(self.server.of(EventKind.HANDSHAKE_DONE)) > done
        )
        return conn

    def refused(self, *, client: ObservedEndpoint | None = None, name: str = "localhost", ticket: bytes | None = None) -> Event:
        """Connect, expect failure, and return the client's CLOSED event."""
        client = client or self.client
        conn = client.endpoint.connect(SERVER_ADDRESS, name, ticket)
        self.network.run_until(lambda: self.closed(client, conn))
        return self.closed(client, conn)[0]

    def wait_for(self, observed: ObservedEndpoint, event: Event) -> None:
        """Let time pass until an endpoint has told ``event``."""
        self.network.run_until(lambda: event in observed.events)

    def wait_finished(self, observed: ObservedEndpoint, conn: int, stream: int) -> None:
        """Let time pass until an endpoint has got the FIN of a stream."""
        self.network.run_until(lambda: (conn, stream) in observed.finished)

    def closed(self, observed: ObservedEndpoint, conn: int) -> list[Event]:
        """Return the CLOSED events of a connection."""
        return [event for event in observed.of(EventKind.CLOSED) if event[1] == conn]

    def server_conn(self) -> int:
        """Return the server's number of the latest connection."""
        number: int = self.server.of(EventKind.OPEN)[-1][1]
        return number

    def server_received(self, stream: int) -> bytes:
        """Return what the server got on a stream of the latest connection."""
        return bytes(self.server.received.get((self.server_conn(), stream), b""))

    def server_finished(self, stream: int) -> bool:
        """Tell whether the server got the FIN of a stream of the latest connection."""
        return (self.server_conn(), stream) in self.server.finished

    def ticket(self) -> bytes:
        """Make a connection only for its ticket and return that."""
        count = len(self.tickets)
        conn = self.connect()
        self.network.run_until(lambda: len(self.tickets) > count)
        self.client.endpoint.close(conn, 0x100, "")
        self.network.run_until(lambda: self.closed(self.server, self.server_conn()))
        return self.tickets[-1][1]

    def open(self, conn: int, bidirectional: bool = True) -> int:
        """Open a stream on the client."""
        stream = self.client.endpoint.open(conn, bidirectional)
        assert stream is not None
        return stream


class Writer:
    """Sends data piece by piece, waiting for WRITABLE as it must."""

    def __init__(self, observed: ObservedEndpoint, conn: int, stream: int, data: bytes, piece: int = 16_384) -> None:
        self.rest = memoryview(data)
        self._observed, self._conn, self._stream, self._piece = observed, conn, stream, piece
        self._before = observed.handler
        observed.handler = self._handle
        self.refusals = 0
        self._write()

    def _handle(self, event: Event) -> None:
        if self._before is not None:
            self._before(event)
        if event == (EventKind.WRITABLE, self._conn, self._stream):
            self._write()

    def _write(self) -> None:
        while self.rest:
            piece, self.rest = bytes(self.rest[: self._piece]), self.rest[self._piece :]
            if not self._observed.endpoint.send(self._conn, self._stream, piece, not self.rest):
                self.refusals += 1
                return
