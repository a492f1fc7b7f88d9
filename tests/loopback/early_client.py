"""A raw client that sends early data, keeps a copy of what it sends, and can fall silent in the middle of a handshake."""

from __future__ import annotations

import ssl
import time
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import SessionTicket

from tests.loopback.raw.client import RawClient
from tests.loopback.serving import DEADLINE_S, ServerThread, call

__all__ = ["EarlyClient", "ticket_of"]


class EarlyClient(RawClient):
    """Not connected yet when it is made: what is sent first goes out with the ClientHello, as 0-RTT.

    Attributes:
        tickets: Session tickets received.
        sent: Every datagram so far, sent or kept back.
        silent: Keep datagrams back, for :meth:`speak` to send.
    """

    def __init__(self, server: ServerThread, ticket: SessionTicket | None = None) -> None:
        self.tickets: list[SessionTicket] = []
        self.sent: list[bytes] = []
        self.silent = False
        self._unsent: list[bytes] = []
        configuration = QuicConfiguration(
            alpn_protocols=["h3"],
            server_name="localhost",
            verify_mode=ssl.CERT_REQUIRED,
            cadata=server.authority.certificate_pem,
            session_ticket=ticket,
        )
        super().__init__(server.address, configuration)
        # Asking for tickets, and offering one, is part of the ClientHello, so of the connection's construction.
        self.quic = type(self.quic)(configuration=configuration, session_ticket_handler=self.tickets.append)
        self.quic.connect(server.address, time.monotonic())

    def put(self, stream: int, data: bytes) -> None:
        """Write a whole request without sending a datagram yet."""
        self.quic.send_stream_data(stream, data, end_stream=True)

    def send_datagram(self, datagram: bytes) -> None:
        """Send, or keep back while silent."""
        self.sent.append(datagram)
        if self.silent:
            self._unsent.append(datagram)
        else:
            super().send_datagram(datagram)

    def speak(self) -> None:
        """End the silence."""
        self.silent = False
        for datagram in self._unsent:
            super().send_datagram(datagram)
        self._unsent.clear()

    def finish_handshake(self) -> None:
        """Wait until the handshake is confirmed by the server, which proves that it got our Finished."""
        self.run_until(lambda: self.quic._handshake_confirmed or self.closed is not None, DEADLINE_S)
        assert self.closed is None


def ticket_of(server: ServerThread) -> Any:
    """Get a session ticket."""
    with EarlyClient(server) as client:
        client.finish_handshake()
        call(client)
        client.run_until(lambda: bool(client.tickets), DEADLINE_S)
        return client.tickets[0]
