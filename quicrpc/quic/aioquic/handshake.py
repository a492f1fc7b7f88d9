"""What an endpoint adds to aioquic's TLS: verification of the peer, identity bound to tickets, certificates by server name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from aioquic import tls
from aioquic._buffer import Buffer
from cryptography.hazmat.primitives.serialization import Encoding

from quicrpc.quic.aioquic.credentials import Credential
from quicrpc.quic.aioquic.logs import log
from quicrpc.quic.aioquic.tickets import dump_ticket, load_ticket, make_valid_now
from quicrpc.quic.aioquic.verification import CertificateAlert, ClientVerification, ServerVerification
from quicrpc.quic.engine import EndpointOptions, SessionTicketRecord

__all__ = ["ClientTls", "ServerTls", "TlsContext", "usable_ticket"]


class TlsContext(tls.Context):
    """Upstream's context with what the endpoint asks about afterwards.

    Attributes:
        peer_chain: The peer's verified chain, DER, leaf first; on resumption the chain bound to the ticket.
        offered_name: SNI.
    """

    peer_chain: tuple[bytes, ...]
    offered_name: str

    def received_chain(self) -> tuple[bytes, ...]:
        """Return the chain the peer has sent."""
        if self._peer_certificate is None:
            return ()
        return tuple(
            certificate.public_bytes(Encoding.DER) for certificate in (self._peer_certificate, *self._peer_certificate_chain)
        )


class ServerTls:
    """The TLS settings of a server endpoint, for connections that begin from now on."""

    def __init__(self, options: EndpointOptions, credentials: Sequence[Credential]) -> None:
        """Raises ValueError for unusable root certificates."""
        self.options = options
        self.credentials = credentials
        self.clients = ClientVerification(options) if options.root_certificates is not None else None
        self.clock = options.wall_clock or time.time

    def set_up(self, context: tls.Context) -> None:
        """Make a new upstream context ours."""
        context.__class__ = _ServerContext
        assert isinstance(context, _ServerContext)
        context.peer_chain, context.offered_name = (), ""
        context.settings = self
        context._request_client_certificate = self.clients is not None
        if self.options.ticket_store is not None:
            context.get_session_ticket_cb = context.take_ticket
            context.new_session_ticket_cb = context.put_ticket
        if not self.options.early_data:
            context._max_early_data = None


class _ServerContext(TlsContext):
    settings: ServerTls
    negotiated_cipher: int | None

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        hello = tls.pull_client_hello(Buffer(data=input_buf.data_slice(0, input_buf.capacity)))
        self.offered_name = hello.server_name or ""
        self.negotiated_cipher = tls.negotiate(self._cipher_suites, hello.cipher_suites)
        credential = self._credential()
        self.certificate, self.certificate_chain = credential.certificate, credential.chain
        self.certificate_private_key = credential.private_key
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
        if self.settings.clients is not None and not self.session_resumed and not self._request_client_certificate:
            raise tls.AlertInternalError("client certificate not asked for")

    def _credential(self) -> Credential:
        credentials = self.settings.credentials
        if len(credentials) > 1 and self.offered_name:
            for credential in credentials:
                if credential.matches(self.offered_name):
                    return credential
        return credentials[0]

    def _server_handle_certificate(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate(input_buf)
        if self._peer_certificate is None and self.settings.clients is not None and self.settings.clients.required:
            raise CertificateAlert(tls.AlertDescription.certificate_required, "client certificate required")

    def _server_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate_verify(input_buf)  # the client holds the key
        assert self.settings.clients is not None
        chain = self.received_chain()
        self.settings.clients.verify(chain)
        self.peer_chain = chain

    def _server_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        start = output_buf.tell()
        super()._server_handle_finished(input_buf, output_buf)
        stop = output_buf.tell()
        if stop > start:  # upstream's ticket says 24 hours; ticket_lifetime follows the message header (RFC 8446, 4.6.1)
            output_buf.seek(start + 4)
            output_buf.push_uint32(int(self.settings.options.ticket_lifetime_s))
            output_buf.seek(stop)

    # Tickets

    def put_ticket(self, ticket: tls.SessionTicket) -> None:
        """Store a ticket just issued, together with the identity proven on this connection."""
        options = self.settings.options
        assert options.ticket_store is not None
        ticket.server_name = self._ticket_scope()
        now = self.settings.clock()
        record = SessionTicketRecord(
            ticket=ticket.ticket,
            secret=dump_ticket(ticket),
            peer_certificates=self.peer_chain,
            epoch=options.ticket_epoch,
            issued_at=now,
            expires_at=now + options.ticket_lifetime_s,
        )
        try:
            options.ticket_store.put(record)
        except Exception:  # a store is free to fail: then the next handshake is a full one
            log.warning("session ticket store failed", exc_info=True)

    def take_ticket(self, identifier: bytes) -> tls.SessionTicket | None:
        """Look up a ticket for a ClientHello. What is returned is certain to be resumed; None means a full handshake."""
        options, clients = self.settings.options, self.settings.clients
        assert options.ticket_store is not None
        try:
            record = options.ticket_store.take(identifier, epoch=options.ticket_epoch)
            if record is None or record.expires_at <= self.settings.clock():
                return None
            ticket, _ = load_ticket(record.secret)
        except Exception:
            log.warning("session ticket store failed", exc_info=True)
            return None
        if ticket.cipher_suite != self.negotiated_cipher or ticket.server_name != self._ticket_scope():
            return None
        if ticket.max_early_data_size is not None and not options.early_data:
            return None
        if clients is not None:
            if record.peer_certificates:
                try:
                    clients.verify(record.peer_certificates)
                except tls.Alert:
                    return None
            elif clients.required:
                return None
            # A resuming client sends no certificate; upstream would wait for one.
            self._request_client_certificate = False
        self.peer_chain = record.peer_certificates
        return make_valid_now(ticket)

    def _ticket_scope(self) -> str:
        # Early data may only be used under the same protocol and name (RFC 8446, 4.2.10 and 4.6.1).
        return f"{self.alpn_negotiated} {self.offered_name}"


class ClientTls:
    """The TLS settings of one client connection."""

    def __init__(
        self,
        verification: ServerVerification | None,
        server_name: str,
        ticket_chain: tuple[bytes, ...],
        ticket_received: Callable[[bytes], None] | None,
    ) -> None:
        self.verification = verification
        self.server_name = server_name
        self._ticket_chain = ticket_chain
        self._ticket_received = ticket_received
        self._context: _ClientContext | None = None

    def set_up(self, context: tls.Context) -> None:
        """Make a new upstream context ours."""
        context.__class__ = _ClientContext
        assert isinstance(context, _ClientContext)
        context.peer_chain, context.offered_name = self._ticket_chain, self.server_name
        context.settings = self
        self._context = context

    def receive_ticket(self, ticket: tls.SessionTicket) -> None:
        """Pass a ticket on, together with the chain that was verified."""
        if self._ticket_received is not None and self._context is not None:
            self._ticket_received(dump_ticket(ticket, self._context.peer_chain))


class _ClientContext(TlsContext):
    settings: ClientTls

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_verify(input_buf)  # the server holds the key
        chain = self.received_chain()
        if self.settings.verification is not None:
            self.settings.verification.verify(chain, self.settings.server_name)
        self.peer_chain = chain


def usable_ticket(
    data: bytes, server_name: str, verification: ServerVerification | None, early_data: bool
) -> tuple[tls.SessionTicket, tuple[bytes, ...]] | None:
    """Read a client's ticket and its chain; None when it must not be used for ``server_name`` now (then the handshake is full)."""
    try:
        ticket, chain = load_ticket(data)
        if verification is not None:
            verification.verify(chain, server_name)
    except (ValueError, tls.Alert):
        return None
    if ticket.server_name != server_name or not ticket.is_valid:
        return None
    if not early_data:
        ticket.max_early_data_size = None
    return ticket, chain
