"""A QUIC client that does what it is told, for tests of how a server takes misbehaviour.

aioquic's connection makes the handshake; after that a test decides every stream byte, reset and flow-control credit. Nothing here
knows quicrpc. The client blocks: a test whose server runs on its own event loop calls it in a thread (``asyncio.to_thread``).

    with RawClient.connect(address, ca) as client:
        stream = client.open_stream()
        client.send(stream, request_headers("/echo.Echo/Unary") + data_frame(grpc_message(b"")), fin=True)
        response = parse_response(client.receive_stream(stream, timeout_s=5).data)

The builders are in ``http3.py``.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

__all__ = ["Closed", "RawClient", "Stream"]

_MAX_DATAGRAM_BYTES = 65_535


@dataclass(slots=True)
class Stream:
    """What has come in on a stream.

    Attributes:
        data: Every byte so far, in order.
        ended: The peer has finished the stream.
        reset_code: Code of the peer's RESET_STREAM.
        stop_code: Code of the peer's STOP_SENDING.
    """

    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset_code: int | None = None
    stop_code: int | None = None

    @property
    def done(self) -> bool:
        """Nothing more can come."""
        return self.ended or self.reset_code is not None


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended: the peer's CONNECTION_CLOSE, or an idle timeout (code 0, no frame type)."""

    code: int
    reason: str
    frame_type: int | None


class _Connection(QuicConnection):
    """A connection that can keep its flow-control credit to itself."""

    credit_held = False

    def _write_connection_limits(self, *args: Any, **kwargs: Any) -> None:
        if not self.credit_held:
            super()._write_connection_limits(*args, **kwargs)

    def _write_stream_limits(self, *args: Any, **kwargs: Any) -> None:
        if not self.credit_held:
            super()._write_stream_limits(*args, **kwargs)


class RawClient:
    """One connection on one UDP socket. Use it in one thread at a time.

    Attributes:
        quic: aioquic's connection, for what has no method here.
        streams: Stream ID -> what came in, for every stream the peer has sent something on.
        closed: How the connection ended; None while it is open.
        handshake_done: The handshake is complete.
        alpn: The protocol that was agreed on.
    """

    def __init__(self, address: tuple[str, int], configuration: QuicConfiguration) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.streams: dict[int, Stream] = {}
        self.closed: Closed | None = None
        self.handshake_done = False
        self.alpn: str | None = None
        self._address = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.quic = _Connection(configuration=configuration)
        self.quic.connect(address, time.monotonic())

    @classmethod
    def connect(
        cls,
        address: tuple[str, int],
        ca: bytes,
        *,
        server_name: str = "localhost",
        alpn: tuple[str, ...] = ("h3",),
        stream_window: int = 1 << 20,
        connection_window: int = 1 << 20,
        client_certificate: tuple[bytes, bytes] | None = None,
        timeout_s: float = 5,
    ) -> Self:
        """Connect and complete the handshake.

        Args:
            ca: PEM certificates of the authorities that may have signed the server's.
            stream_window: Bytes of credit each stream has at first; ``connection_window`` that of all together.
            client_certificate: PEM chain and PEM key.
        Raises: TimeoutError: nobody answers. ConnectionError: the server refuses; its text has the code.
        """
        configuration = QuicConfiguration(
            alpn_protocols=list(alpn),
            server_name=server_name,
            verify_mode=ssl.CERT_REQUIRED,
            cadata=ca,
            max_stream_data=stream_window,
            max_data=connection_window,
        )
        if client_certificate is not None:
            _load_certificate(configuration, *client_certificate)
        client = cls(address, configuration)
        try:
            client.run_until(lambda: client.handshake_done or client.closed is not None, timeout_s)
            if client.closed is not None:
                raise ConnectionError(f"handshake failed: {client.closed}")
        except BaseException:
            client.abandon()
            raise
        return client

    def open_stream(self, bidirectional: bool = True) -> int:
        """Return the ID of the next stream of ours; the peer learns of it with its first bytes."""
        return self.quic.get_next_available_stream_id(is_unidirectional=not bidirectional)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Write bytes on a stream, whatever they are, and send what flow control allows now."""
        self.quic.send_stream_data(stream, data, fin)
        self.flush()

    def reset(self, stream: int, code: int) -> None:
        """Send RESET_STREAM."""
        self.quic.reset_stream(stream, code)
        self.flush()

    def stop_sending(self, stream: int, code: int) -> None:
        """Send STOP_SENDING."""
        self.quic.stop_stream(stream, code)
        self.flush()

    def hold_credit(self, held: bool = True) -> None:
        """Stop (or start again) raising the peer's flow-control limits: a client that never reads."""
        self.quic.credit_held = held
        self.flush()

    def ping(self) -> None:
        """Send a PING."""
        self.quic.send_ping(0)
        self.flush()

    def stream(self, stream: int) -> Stream:
        """Return what has come in on a stream so far."""
        return self.streams.setdefault(stream, Stream())

    def receive_stream(self, stream: int, *, timeout_s: float) -> Stream:
        """Wait until a stream has ended or was reset. Raises: TimeoutError. ConnectionError: the connection ended first."""
        state = self.stream(stream)
        self.run_until(lambda: state.done or self.closed is not None, timeout_s)
        if not state.done:
            raise ConnectionError(f"stream {stream} was cut off: {self.closed}")
        return state

    def receive_close(self, *, timeout_s: float) -> Closed:
        """Wait until the connection has ended. Raises: TimeoutError."""
        self.run_until(lambda: self.closed is not None, timeout_s)
        assert self.closed is not None
        return self.closed

    def run_for(self, seconds: float) -> None:
        """Keep the connection going, for tests that show that something does *not* come."""
        try:
            self.run_until(lambda: False, seconds)
        except TimeoutError:
            pass

    def run_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Receive, acknowledge and run timers until ``condition()``. Raises: TimeoutError."""
        deadline = time.monotonic() + timeout_s
        self.flush()
        while not condition():
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError(f"nothing of the kind within {timeout_s} s")
            timer = self.quic.get_timer()
            wake = deadline if timer is None else min(timer, deadline)
            if select.select([self._socket], [], [], max(0.0, wake - now))[0]:
                self._receive()
            elif timer is not None and time.monotonic() >= timer:
                self.quic.handle_timer(time.monotonic())
            self._take_events()
            self.flush()

    def flush(self) -> None:
        """Send what is due."""
        for datagram, _ in self.quic.datagrams_to_send(time.monotonic()):
            self.send_datagram(datagram)
        # Sending can make events too.
        self._take_events()

    def send_datagram(self, datagram: bytes) -> None:
        """Send a UDP payload from the connection's address, whatever it is."""
        self._socket.sendto(datagram, self._address)

    def close(self, code: int = 0x100, reason: str = "") -> None:
        """Close the connection with an application error code (H3_NO_ERROR) and release the socket."""
        if self.closed is None:
            self.quic.close(error_code=code, reason_phrase=reason)
            self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Release the socket and say nothing: a client that lost its network."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._socket.fileno() != -1:
            self.close()

    def _receive(self) -> None:
        while True:
            try:
                datagram, address = self._socket.recvfrom(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            self.quic.receive_datagram(datagram, address, time.monotonic())

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    state = self.stream(event.stream_id)
                    state.data += event.data
                    state.ended = state.ended or event.end_stream
                case events.StreamReset():
                    self.stream(event.stream_id).reset_code = event.error_code
                case events.StopSendingReceived():
                    self.stream(event.stream_id).stop_code = event.error_code
                case events.HandshakeCompleted():
                    self.handshake_done, self.alpn = True, event.alpn_protocol
                case events.ConnectionTerminated():
                    self.closed = Closed(event.error_code, event.reason_phrase, event.frame_type)


def _load_certificate(configuration: QuicConfiguration, chain: bytes, key: bytes) -> None:
    leaf, *rest = x509.load_pem_x509_certificates(chain)
    configuration.certificate, configuration.certificate_chain = leaf, rest
    configuration.private_key = load_pem_private_key(key, None)
