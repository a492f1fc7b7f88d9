"""The endpoint: many connections on one datagram link, found by connection ID, driven by poll and flush."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TextIO, cast

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, QuicConnectionState
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.tls import Context

from quicrpc.quic.aioquic.admission import Admission, Admitted
from quicrpc.quic.aioquic.configuration import build_configuration, with_credentials
from quicrpc.quic.aioquic.connection import CONNECTION_ID_BYTES, Connection, ConnectionIds
from quicrpc.quic.aioquic.credentials import load_credentials
from quicrpc.quic.aioquic.fastpath import choose_connection_class
from quicrpc.quic.aioquic.handshake import ClientTls, ServerTls, TlsContext, usable_ticket
from quicrpc.quic.aioquic.info import connection_info
from quicrpc.quic.aioquic.logs import log
from quicrpc.quic.aioquic.timers import Timer, TimerQueue
from quicrpc.quic.aioquic.verification import ServerVerification
from quicrpc.quic.engine import (
    Address,
    CertificateChain,
    ConnectionInfo,
    DatagramLink,
    EndpointOptions,
    Event,
    EventKind,
)

__all__ = ["AioquicEndpoint"]

_OPEN = EventKind.OPEN
_HANDSHAKE_DONE = EventKind.HANDSHAKE_DONE
_DATA = EventKind.DATA
_RESET = EventKind.RESET
_STOPPED = EventKind.STOPPED
_WRITABLE = EventKind.WRITABLE
_STREAMS_AVAILABLE = EventKind.STREAMS_AVAILABLE
_CLOSED = EventKind.CLOSED

_H3_NO_ERROR = 0x100
_RESET_TOKEN_BYTES = 16


class _Closing:
    """What is left of a connection in its closing or draining period (RFC 9000, 10.2): it answers with its last words."""

    __slots__ = ("datagrams", "received", "routes", "timer")

    def __init__(self, routes: list[bytes], datagrams: list[tuple[bytes, Address]]) -> None:
        self.timer: Timer[Connection | _Closing] = Timer(self)
        self.routes = routes
        self.datagrams = datagrams
        self.received = 0


class AioquicEndpoint:
    """An :class:`~quicrpc.quic.engine.Endpoint` on aioquic."""

    #: Tests and measurements compare both.
    connection_class: ClassVar[type[Connection]] = choose_connection_class()

    def __init__(self, link: DatagramLink, options: EndpointOptions) -> None:
        """Take over ``link``.

        Raises:
            ValueError: An option cannot be used; the message says which.
            OSError: The secrets log cannot be opened.
        """
        credentials = load_credentials(options.certificates)
        if not options.is_client and not credentials:
            raise ValueError("certificates: a server needs one")
        self.capabilities = frozenset({"early_data", "migration", "stateless_reset", "retry", "key_update", "sni_certificates"})
        if getattr(link, "has_gso", False):
            self.capabilities |= {"gso"}
        self._link = link
        self._options = options
        self._ids = ConnectionIds(options.reset_key, options.connection_id_prefix)
        self._admission = Admission(options, self._ids)
        self._configuration = build_configuration(options, credentials)
        self._server_tls = None if options.is_client else ServerTls(options, credentials)
        self._verification = ServerVerification(options) if options.is_client and options.verify_server else None
        self._max_receive = options.max_receive_datagram_bytes
        self._connections: dict[int, Connection] = {}
        self._routes: dict[bytes, Connection | _Closing] = {}
        self._timers: TimerQueue[Connection | _Closing] = TimerQueue()
        self._dirty: list[Connection] = []
        self._events: list[Event] = []
        self._outgoing: list[tuple[bytes, Address]] = []
        self._half_open = 0
        self._last_number = 0
        self._now = 0.0
        self._is_shut_down = False
        self._secrets_log: TextIO | None = None
        if options.secrets_log_file is not None:
            self._secrets_log = Path(options.secrets_log_file).open("a")  # noqa: SIM115  # closed by shutdown
            self._configuration.secrets_log_file = self._secrets_log

    # Driving

    def fileno(self) -> int:
        """Return the link's descriptor. It changes with ``migrate``."""
        return self._link.fileno()

    def poll(self, now: float, readable: bool) -> list[Event]:
        """Read what is waiting (if ``readable``), run timers that are due, and return what happened, in order."""
        self._now = now
        events, self._events = self._events, []
        if readable:
            for data, address in self._link.receive():
                if 0 < len(data) <= self._max_receive:
                    self._receive(data, address, now, events)
        for owner in self._timers.pop_due(now):
            if type(owner) is _Closing:
                self._forget(owner)
            else:
                self._run_timer(cast(Connection, owner), now)
        for connection in self._dirty:
            if connection._events:
                self._drain(connection, events)
            if connection.waiting:
                events += [(_WRITABLE, connection.number, stream) for stream in connection.writable_streams()]
            if (connection.awaiting_bidi or connection.awaiting_uni) and connection.streams_became_available():
                events.append((_STREAMS_AVAILABLE, connection.number))
        return events

    def flush(self, now: float) -> float | None:
        """Send everything that may be sent now. Returns when ``poll`` must be called next: ``now`` if it has events already."""
        self._now = now
        dirty, self._dirty = self._dirty, []
        outgoing, self._outgoing = self._outgoing, []
        for connection in dirty:
            connection.dirty = False
            try:
                datagrams = connection.datagrams_to_send(now)
            except Exception as error:
                self._fail(connection, error)
                datagrams = []
            outgoing += datagrams
            # Connection IDs just announced must be found from now on: the peer may use them in its next packet.
            if connection._events:
                self._drain(connection, self._events)
            if connection._close_event is not None and connection._state in END_STATES:
                self._finish(connection, datagrams)
                continue
            if connection.waiting:
                self._events += [(_WRITABLE, connection.number, stream) for stream in connection.writable_streams()]
            if connection.handshake_deadline is None:
                connection.handshake_deadline = now + self._options.handshake_timeout_s
            self._timers.schedule(connection.timer, connection.next_timer())
        if outgoing:
            self._link.send(outgoing)
        return now if self._events or self._dirty else self._timers.next_due()

    def shutdown(self, now: float) -> None:
        """Close every connection with H3_NO_ERROR, send what that takes, and close the link."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        for number in list(self._connections):
            self.close(number, _H3_NO_ERROR, "")
        self.flush(now)
        self._link.close()
        if self._secrets_log is not None:
            self._secrets_log.close()

    # Receiving

    def _receive(self, data: bytes, address: Address, now: float, events: list[Event]) -> None:
        if data[0] & 0x80:
            target = self._routes.get(data[6 : 6 + data[5]]) if len(data) > 6 else None
        else:
            target = self._routes.get(data[1 : 1 + CONNECTION_ID_BYTES])
        if target is None:
            self._receive_unknown(data, address, now, events)
            return
        if type(target) is _Closing:
            self._receive_closing(target)
            return
        connection = cast(Connection, target)
        connection.datagrams_received += 1
        connection.bytes_received += len(data)
        try:
            connection.receive_datagram(data, address, now)
        except Exception as error:
            self._fail(connection, error)
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)

    def _receive_unknown(self, data: bytes, address: Address, now: float, events: list[Event]) -> None:
        if self._options.is_client:
            if not data[0] & 0x80:
                self._receive_stateless_reset(data, address)
            return
        if not data[0] & 0x80:
            answer = self._admission.stateless_reset(data, now)
        else:
            verdict = self._admission.consider(data, address, now, self._half_open)
            if isinstance(verdict, Admitted):
                self._accept(verdict, data, address, now, events)
                return
            answer = verdict
        if answer is not None:
            self._outgoing.append((answer, address))

    def _accept(self, admitted: Admitted, data: bytes, address: Address, now: float, events: list[Event]) -> None:
        assert self._server_tls is not None
        connection = self._new_connection(
            self._configuration,
            self._server_tls.set_up,
            original_destination_connection_id=admitted.original_destination,
            retry_source_connection_id=admitted.retry_source,
        )
        connection.datagrams_received, connection.bytes_received = 1, len(data)
        try:
            connection.receive_datagram(data, address, now)
        except Exception as error:
            self._log_fault(connection, error)
            return
        if connection._state is QuicConnectionState.FIRSTFLIGHT:
            return  # nothing in it could be decrypted: keep no state
        if admitted.retry_source is not None:
            connection._network_paths[0].is_validated = True  # the token came back from there (RFC 9000, 8.1.2)
        connection.half_open = True
        self._half_open += 1
        connection.handshake_deadline = now + self._options.handshake_timeout_s
        self._register(connection)
        self._add_route(connection, admitted.destination)
        events.append((_OPEN, connection.number))

    def _receive_closing(self, closing: _Closing) -> None:
        """Repeat the CONNECTION_CLOSE for the 1st, 2nd, 4th, 8th ... packet that still comes (RFC 9000, 10.2.1)."""
        closing.received += 1
        if closing.received & (closing.received - 1) == 0:
            self._outgoing += closing.datagrams

    def _receive_stateless_reset(self, data: bytes, address: Address) -> None:
        token = data[-_RESET_TOKEN_BYTES:]
        for connection in self._connections.values():
            if connection.get_peer_address() == address and hmac.compare_digest(connection._peer_cid.stateless_reset_token, token):
                connection.close_quietly("stateless reset", by_peer=True)
                self._touch(connection)
                return

    def _run_timer(self, connection: Connection, now: float) -> None:
        try:
            connection.handle_timer(now)
        except Exception as error:
            self._fail(connection, error)
        self._touch(connection)

    def _drain(self, connection: Connection, events: list[Event]) -> None:
        """Translate what one connection has to tell."""
        queue = connection._events
        number = connection.number
        while queue:
            event: Any = queue.popleft()
            kind = type(event)
            if kind is StreamDataReceived:
                stream, data = event.stream_id, event.data
                if data:
                    connection.take(stream, len(data))
                if stream not in connection.stopped:
                    events.append((_DATA, number, stream, data, event.end_stream, not connection.handshake_done))
                elif event.end_stream:
                    connection.stopped.discard(stream)
            elif kind is StreamReset:
                connection.take_reset(event.stream_id)
                if event.stream_id in connection.stopped:
                    connection.stopped.discard(event.stream_id)
                else:
                    events.append((_RESET, number, event.stream_id, event.error_code))
            elif kind is StopSendingReceived:
                events.append((_STOPPED, number, event.stream_id, event.error_code))
            elif kind is HandshakeCompleted:
                self._complete_handshake(connection, event)
                events.append((_HANDSHAKE_DONE, number))
            elif kind is ConnectionIdIssued:
                self._add_route(connection, event.connection_id)
            elif kind is ConnectionIdRetired:
                self._routes.pop(event.connection_id, None)
                if event.connection_id in connection.routes:
                    connection.routes.remove(event.connection_id)

    def _complete_handshake(self, connection: Connection, event: HandshakeCompleted) -> None:
        connection.handshake_done = True
        if connection.half_open:
            connection.half_open = False
            self._half_open -= 1
        if self._options.is_client and connection._configuration.session_ticket is not None and not event.early_data_accepted:
            connection.repeat_rejected_early_data(self._now)

    # Life of a connection

    def _new_connection(
        self,
        configuration: QuicConfiguration,
        set_up_tls: Callable[[Context], None],
        **arguments: Any,
    ) -> Connection:
        self._last_number += 1
        return self.connection_class(self._last_number, self._options, configuration, self._ids, set_up_tls, **arguments)

    def _register(self, connection: Connection) -> None:
        self._connections[connection.number] = connection
        self._add_route(connection, connection.host_cid)
        self._touch(connection)

    def _add_route(self, connection: Connection, connection_id: bytes) -> None:
        self._routes[connection_id] = connection
        connection.routes.append(connection_id)

    def _touch(self, connection: Connection) -> None:
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)

    def _fail(self, connection: Connection, error: Exception) -> None:
        """A fault of ours or of aioquic: this connection ends, no other one notices."""
        self._log_fault(connection, error)
        if connection.is_closing:
            connection._close_end()
        else:
            connection.close(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING, "internal error")
        self._touch(connection)

    def _log_fault(self, connection: Connection, error: Exception) -> None:
        log.warning("connection %d: %s", connection.number, type(error).__name__)
        log.debug("connection %d", connection.number, exc_info=error)

    def _finish(self, connection: Connection, datagrams: list[tuple[bytes, Address]]) -> None:
        """Report CLOSED and keep only what the closing period needs."""
        event = connection._close_event
        assert event is not None
        is_application = event.frame_type is None
        self._events.append(
            (_CLOSED, connection.number, int(event.error_code), event.reason_phrase, is_application, connection.closed_by_peer)
        )
        del self._connections[connection.number]
        if connection.half_open:
            connection.half_open = False
            self._half_open -= 1
        self._timers.cancel(connection.timer)
        closing = _Closing(connection.routes, datagrams)
        if connection._state is QuicConnectionState.TERMINATED:
            self._forget(closing)
        else:
            for connection_id in closing.routes:
                self._routes[connection_id] = closing
            self._timers.schedule(closing.timer, connection._close_at)
            connection._close_end()

    def _forget(self, closing: _Closing) -> None:
        for connection_id in closing.routes:
            self._routes.pop(connection_id, None)

    # Commands

    def connect(self, address: Address, server_name: str, ticket: bytes | None = None) -> int:
        """Begin a connection. With a usable ``ticket`` streams may be opened and written at once as early data."""
        options = self._options
        usable = None if ticket is None else usable_ticket(ticket, server_name, self._verification, options.early_data)
        session, chain = usable or (None, ())
        configuration = dataclasses.replace(self._configuration, server_name=server_name, session_ticket=session)
        received = None if options.ticket_received is None else partial(options.ticket_received, self._last_number + 1)
        settings = ClientTls(self._verification, server_name, chain, received)
        handler = None if received is None else settings.receive_ticket
        connection = self._new_connection(configuration, settings.set_up, session_ticket_handler=handler)
        connection.connect(_normal_address(address, self._link.local_address()), self._now)
        self._register(connection)
        return connection.number

    def open(self, conn: int, bidirectional: bool) -> int | None:
        """Open a stream. None at the peer's stream limit (STREAMS_AVAILABLE will follow) or when the connection is gone."""
        connection = self._connections.get(conn)
        if connection is None or connection.is_closing:
            return None
        return connection.open(bidirectional)

    def send(self, conn: int, stream: int, data: bytes, fin: bool) -> bool:
        """Take all of ``data``. False: above the high watermark, wait for WRITABLE before the next one."""
        connection = self._connections.get(conn)
        if connection is None or connection._close_event is not None:
            return True
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)
        return connection.write(stream, data, fin)

    def pause(self, conn: int, stream: int) -> None:
        """Return no flow-control credit for this stream from here on."""
        connection = self._connections.get(conn)
        if connection is not None:
            connection.pause(stream)

    def resume(self, conn: int, stream: int) -> None:
        """Return the credit held back since ``pause``."""
        connection = self._connections.get(conn)
        if connection is not None:
            connection.resume(stream)
            self._touch(connection)

    def reset(self, conn: int, stream: int, code: int) -> None:
        """Abort our sending side with RESET_STREAM."""
        connection = self._connections.get(conn)
        if connection is not None:
            connection.reset(stream, code)
            self._touch(connection)

    def stop_sending(self, conn: int, stream: int, code: int) -> None:
        """Ask the peer to stop (STOP_SENDING)."""
        connection = self._connections.get(conn)
        if connection is not None:
            connection.stop(stream, code)
            self._touch(connection)

    def ping(self, conn: int) -> None:
        """Send a PING frame (keepalive)."""
        connection = self._connections.get(conn)
        if connection is not None and not connection._ping_pending:
            connection.send_ping(0)
            self._touch(connection)

    def close(self, conn: int, code: int, reason: str) -> None:
        """Close with an application (HTTP/3) error code. CLOSED follows from a later ``poll``."""
        connection = self._connections.get(conn)
        if connection is not None:
            connection.close(error_code=code, frame_type=None, reason_phrase=reason)
            self._touch(connection)

    def migrate(self, link: DatagramLink) -> None:
        """Client: go on from another local socket, with new connection IDs; the server validates the new path.

        Raises:
            RuntimeError: This is a server.
        """
        if not self._options.is_client:
            raise RuntimeError("only a client migrates (RFC 9000, 9)")
        self._link.close()
        self._link = link
        for connection in self._connections.values():
            connection.migrate()
            self._touch(connection)

    def set_certificates(self, certificates: Sequence[CertificateChain]) -> None:
        """Use other certificates for connections that begin from now on.

        Raises:
            ValueError: They cannot be used; the old ones stay.
        """
        credentials = load_credentials(certificates)
        if not self._options.is_client:
            if not credentials:
                raise ValueError("certificates: a server needs one")
            self._server_tls = ServerTls(self._options, credentials)
        self._configuration = with_credentials(self._configuration, credentials)

    def refuse_new_connections(self) -> None:
        """Server: answer new connections with CONNECTION_REFUSED from now on (drain)."""
        self._admission.draining = True

    # Questions

    def peer_certificates(self, conn: int) -> list[bytes]:
        """Return the peer's verified chain, DER, leaf first; [] without one or for an unknown connection."""
        connection = self._connections.get(conn)
        return [] if connection is None else list(cast(TlsContext, connection.tls).peer_chain)

    def connections(self) -> list[int]:
        """Return the numbers of the connections that are not closed."""
        return list(self._connections)

    def info(self, conn: int) -> ConnectionInfo:
        """Return a snapshot. Raises KeyError for an unknown connection."""
        return connection_info(self._connections[conn], self._link.local_address())


def _normal_address(address: Address, local: Address) -> Address:
    """Return ``address`` in the form in which the link reports it as a sender: aioquic compares them."""
    if len(local) == 2 or len(address) == 4:
        return address
    host, port = address
    return (host if ipaddress.ip_address(host).version == 6 else f"::ffff:{host}", port, 0, 0)
