"""The seam between quicrpc and a QUIC implementation.

An *endpoint* owns one UDP socket (or, in tests, an in-memory link) and every connection on it. Above this file nobody knows which
library speaks QUIC; below it nobody knows asyncio, HTTP/3 or gRPC.

Calling order, for whoever drives an endpoint:

1. when ``fileno()`` is readable, or the time returned by ``flush`` has come, call ``poll(now, readable)`` and handle its events;
2. call any of the commands (``open``, ``send``, ``reset`` ...), from event handlers or later;
3. before going back to sleep call ``flush(now)`` once: it sends what is due and returns the next timer.

Nothing in here blocks, awaits, takes a lock or calls upwards. Times are seconds on one monotonic clock chosen by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

__all__ = [
    "Address",
    "CertificateChain",
    "CertificateRejected",
    "ConnectionInfo",
    "DatagramLink",
    "Endpoint",
    "EndpointOptions",
    "Event",
    "EventKind",
    "PeerVerifier",
    "SessionTicketRecord",
    "TicketStore",
]

#: ``(host, port)`` of IPv4, ``(host, port, flowinfo, scope_id)`` of IPv6, as the socket module has them.
Address = tuple[Any, ...]


class EventKind(IntEnum):
    """First member of every event tuple; the rest is listed here.

    ======================  ===================================================================================================
    ``OPEN``                ``(OPEN, conn)``: a peer's connection exists on this server endpoint; its handshake has begun.
    ``HANDSHAKE_DONE``      ``(HANDSHAKE_DONE, conn)``: keys are confirmed to be the peer's; earlier bytes were no replay.
    ``DATA``                ``(DATA, conn, stream, data, fin, early)``: in-order bytes. ``early``: before ``HANDSHAKE_DONE``.
    ``RESET``               ``(RESET, conn, stream, code)``: the peer sent RESET_STREAM; no more data comes.
    ``STOPPED``             ``(STOPPED, conn, stream, code)``: the peer sent STOP_SENDING; what we send is thrown away.
    ``WRITABLE``            ``(WRITABLE, conn, stream)``: a stream whose ``send`` returned False may be written again.
    ``STREAMS_AVAILABLE``   ``(STREAMS_AVAILABLE, conn)``: the peer raised its stream limit after ``open`` returned None.
    ``CLOSED``              ``(CLOSED, conn, code, reason, is_application, by_peer)``: last event of a connection.
                            ``code`` is a QUIC or, if ``is_application``, an HTTP/3 error code. A refused connection is code 2 by
                            the peer. Code 0 by nobody in particular: reason ``"idle timeout"``, ``"handshake timeout"`` or (by
                            the peer, which has lost its state) ``"stateless reset"``.
    ======================  ===================================================================================================
    """

    OPEN = 0
    HANDSHAKE_DONE = 1
    DATA = 2
    RESET = 3
    STOPPED = 4
    WRITABLE = 5
    STREAMS_AVAILABLE = 6
    CLOSED = 7


#: A plain tuple, see :class:`EventKind`; tuples because one is made for every stream frame.
Event = tuple[Any, ...]


class DatagramLink(Protocol):
    """Where datagrams come from and go to: a UDP socket, or a simulated network."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable; -1 when there is none."""

    def local_address(self) -> Address:
        """Return the address datagrams are received on."""

    def receive(self) -> list[tuple[bytes, Address]]:
        """Return every waiting datagram with its sender, bounded; ``[]`` when there is none."""

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """Send in order. What the network cannot take now is dropped: QUIC sends it again."""

    def close(self) -> None:
        """Release the descriptor. Later calls do nothing."""


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """A certificate chain and its key, PEM encoded, leaf first."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)


class CertificateRejected(Exception):
    """Raised by a :data:`PeerVerifier`. ``alert``: the TLS alert number the peer gets (RFC 8446, 6.2); default bad_certificate."""

    def __init__(self, message: str, *, alert: int = 42) -> None:
        super().__init__(message)
        self.alert = alert


#: Called with the peer's verified chain (DER, leaf first) at a full handshake, and with the chain stored with the ticket at a
#: resumption; raises :class:`CertificateRejected` to refuse. A check *after* chain verification (names, revocation).
PeerVerifier = Callable[[Sequence[bytes]], None]


@dataclass(frozen=True, slots=True)
class SessionTicketRecord:
    """What a server must remember to resume a session.

    Attributes:
        ticket: The identifier the client presents.
        secret: The engine's own serialised state; treat as a key.
        peer_certificates: DER chain of the client verified when the ticket was issued, leaf first; empty without mTLS.
        epoch: The configuration epoch the ticket was issued under.
        issued_at: Wall-clock seconds.
        expires_at: Wall-clock seconds.
    """

    ticket: bytes
    secret: bytes = field(repr=False)
    peer_certificates: tuple[bytes, ...]
    epoch: str
    issued_at: float
    expires_at: float


class TicketStore(Protocol):
    """Session tickets of a server, single-use: taking one removes it, for every process that shares the store."""

    def put(self, record: SessionTicketRecord) -> None:
        """Store a ticket, dropping the oldest when full."""

    def take(self, ticket: bytes, *, epoch: str) -> SessionTicketRecord | None:
        """Remove and return a ticket; None if unknown, used, expired or of another epoch (then a full handshake follows)."""


@dataclass(slots=True)
class EndpointOptions:
    """Everything an engine is told at construction. Sizes in bytes, times in seconds.

    Attributes:
        is_client: Role. A client endpoint accepts no connections.
        alpn: Protocols offered or accepted, in order of preference.
        certificates: Server: at least one chain. Client: none, or one to present when asked.
        root_certificates: PEM bundle the peer's chain must lead to. Client: needed unless ``verify_server`` is off (default roots
            are the caller's to find). Server None: clients are not asked for a certificate.
        require_client_certificate: Server: refuse a client that presents none.
        verify_server: Client: check chain and name. Only tests turn it off.
        peer_verifier: Rules beyond the chain.
        ticket_store: Server: where session tickets are kept; None switches resumption off.
        ticket_lifetime_s: How long a ticket may be used.
        ticket_epoch: Tickets of another epoch are refused: change it with the configuration.
        early_data: Server: accept 0-RTT. Client: allow it when a ticket is given.
        ticket_received: Client: called with ``(connection, opaque ticket)`` for each ticket the server issues; the opaque bytes go
            back into ``connect``.
        stream_window_bytes: Receive credit of one stream; returned as data is delivered to a stream that is not paused.
        connection_window_bytes: Receive credit of one connection.
        send_high_bytes: ``send`` returns False while a stream holds this much unsent data.
        send_low_bytes: ``WRITABLE`` follows when a stream's unsent data falls to this.
        max_streams_bidi: Request streams a peer may have open at a time.
        max_streams_uni: Unidirectional streams a peer may have open at a time.
        idle_timeout_s: A connection without traffic for this long is closed.
        handshake_timeout_s: A handshake must be complete after this long, whatever arrives.
        max_datagram_bytes: UDP payload sent.
        max_receive_datagram_bytes: Larger datagrams are dropped unread.
        retry_threshold: Half-open connections from which on new clients must prove their address by Retry.
        max_half_open: Half-open connections from which on new ones are refused.
        reset_key: 32 bytes from which stateless reset tokens are derived; None: random.
        retry_key: 32 bytes for Retry tokens; None: random.
        connection_id_prefix: Called for each connection ID issued, returns its first byte (steering between workers); None: random.
        congestion_control: ``"reno"`` or ``"cubic"``.
        secrets_log_file: Path for TLS secrets in NSS key-log format (``SSLKEYLOGFILE``).
        qlog_dir: Directory for one qlog file per connection (``QLOGDIR``).
        wall_clock: Returns wall-clock seconds, for certificates and tickets.
    """

    is_client: bool
    alpn: tuple[str, ...] = ("h3",)
    certificates: Sequence[CertificateChain] = ()
    root_certificates: bytes | None = None
    require_client_certificate: bool = False
    verify_server: bool = True
    peer_verifier: PeerVerifier | None = None
    ticket_store: TicketStore | None = None
    ticket_lifetime_s: float = 600.0
    ticket_epoch: str = ""
    early_data: bool = True
    ticket_received: Callable[[int, bytes], None] | None = None
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    send_high_bytes: int = 64 * 1024
    send_low_bytes: int = 32 * 1024
    max_streams_bidi: int = 1024
    max_streams_uni: int = 16
    idle_timeout_s: float = 60.0
    handshake_timeout_s: float = 10.0
    max_datagram_bytes: int = 1200
    max_receive_datagram_bytes: int = 1500
    retry_threshold: int = 100
    max_half_open: int = 256
    reset_key: bytes | None = None
    retry_key: bytes | None = None
    connection_id_prefix: Callable[[], int] | None = None
    congestion_control: str = "cubic"
    secrets_log_file: str | None = None
    qlog_dir: str | None = None
    wall_clock: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What is known about a connection, for contexts, logs and introspection.

    Attributes:
        peer_address: Where the peer's datagrams come from now (it may migrate).
        local_address: The endpoint's own address.
        alpn: Protocol agreed on; "" before the handshake got that far.
        quic_version: Number on the wire, 1 or 0x6b3343cf.
        cipher: TLS cipher suite's name.
        resumed: The handshake used a session ticket.
        early_data_accepted: The server took 0-RTT data.
        server_name: SNI, as sent by the client.
        rtt_s: Smoothed round-trip time; 0 before the first sample.
        congestion_window_bytes: Bytes allowed in flight.
        bytes_in_flight: Bytes in flight.
        packets_sent, packets_received, packets_lost, bytes_sent, bytes_received: Totals.
        original_connection_id: Hexadecimal, names the connection in logs and qlog.
    """

    peer_address: Address
    local_address: Address
    alpn: str
    quic_version: int
    cipher: str
    resumed: bool
    early_data_accepted: bool
    server_name: str
    rtt_s: float
    congestion_window_bytes: int
    bytes_in_flight: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    bytes_sent: int
    bytes_received: int
    original_connection_id: str


class Endpoint(Protocol):
    """Many connections on one socket. Connection numbers count from 1 and are never reused; stream numbers are QUIC stream IDs."""

    #: What the engine can do, asked for and never guessed: "early_data", "migration", "stateless_reset", "retry", "key_update",
    #: "gso", "sni_certificates".
    capabilities: frozenset[str]

    def fileno(self) -> int:
        """Return the descriptor to watch for reading, -1 for none."""

    def poll(self, now: float, readable: bool) -> list[Event]:
        """Read what is waiting (if ``readable``), run timers that are due, and return what happened, in order.

        A fault in one connection closes that connection and never drops events of another.
        """

    def flush(self, now: float) -> float | None:
        """Send everything that may be sent now. Returns when ``poll`` must be called next, or None.

        It returns ``now`` (or earlier) when ``poll`` has something to tell without anything arriving: WRITABLE because sending made
        room, CLOSED after ``close``, or more packets to build than one flush may take. The time may be earlier than anything due.
        """

    def connect(self, address: Address, server_name: str, ticket: bytes | None = None) -> int:
        """Begin a connection. With a ``ticket`` streams may be opened and written at once as early data.

        ``server_name``: the name (or textual IP address) the server's certificate must carry.
        """

    def open(self, conn: int, bidirectional: bool) -> int | None:
        """Open a stream. None at the peer's stream limit (STREAMS_AVAILABLE will follow) or when the connection is gone."""

    def send(self, conn: int, stream: int, data: bytes, fin: bool) -> bool:
        """Take all of ``data``. False: above the high watermark, wait for WRITABLE before the next one.

        The watermarks count bytes never sent yet; what is sent and unacknowledged is bounded by the peer's window. After ``reset``,
        after the peer's STOP_SENDING, and on a closed connection the data is dropped and True returned.

        Raises:
            ValueError: The stream was never opened, or only the peer may write to it.
            RuntimeError: A FIN was given before.
        """

    def pause(self, conn: int, stream: int) -> None:
        """Return no credit for what is delivered on this stream from now on: its sender stops at the window.

        Data already under way is still delivered. What is held back counts against the connection's window too, also after the
        stream's FIN, so every paused stream is to be resumed once its data has been taken or thrown away. A RESET event and
        ``stop_sending`` return the credit by themselves.
        """

    def resume(self, conn: int, stream: int) -> None:
        """Return the credit held back since ``pause``."""

    def reset(self, conn: int, stream: int, code: int) -> None:
        """Abort our sending side with RESET_STREAM. Nothing when all data and a FIN have been sent."""

    def stop_sending(self, conn: int, stream: int, code: int) -> None:
        """Ask the peer to stop (STOP_SENDING); data that still arrives is discarded and its credit returned.

        No DATA or RESET follows for this stream.
        """

    def ping(self, conn: int) -> None:
        """Send a PING frame (keepalive)."""

    def close(self, conn: int, code: int, reason: str) -> None:
        """Close with an application (HTTP/3) error code. CLOSED follows from a later ``poll``."""

    def migrate(self, link: DatagramLink) -> None:
        """Client: go on from another local socket, with new connection IDs and path validation. The old link is closed."""

    def set_certificates(self, certificates: Sequence[CertificateChain]) -> None:
        """Use other certificates for connections that begin from now on."""

    def refuse_new_connections(self) -> None:
        """Server: answer new connections with CONNECTION_REFUSED from now on (drain)."""

    def peer_certificates(self, conn: int) -> list[bytes]:
        """Return the peer's verified chain, DER, leaf first; [] without one. On resumption: the chain bound to the ticket."""

    def info(self, conn: int) -> ConnectionInfo:
        """Return a snapshot. Raises KeyError for an unknown connection."""

    def connections(self) -> list[int]:
        """Return the numbers of the connections that are not closed."""

    def shutdown(self, now: float) -> None:
        """Close every connection with H3_NO_ERROR, send what that takes, and close the socket."""
