"""What a server does with datagrams that belong to no connection (RFC 9000, 5.2.2, 6, 8.1 and 10.3).

Everything here costs anyone on the network one datagram, so answers are smaller than what they answer and limited in rate.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from aioquic._buffer import Buffer
from aioquic.quic.connection import TRANSPORT_CLOSE_FRAME_CAPACITY
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quicrpc.quic.aioquic.connection import CONNECTION_ID_BYTES, ConnectionIds
from quicrpc.quic.engine import Address, EndpointOptions

__all__ = ["SUPPORTED_VERSIONS", "Admission", "Admitted", "RateLimit"]

SUPPORTED_VERSIONS = [int(QuicProtocolVersion.VERSION_1), int(QuicProtocolVersion.VERSION_2)]
#: The least a client pads its first datagrams to (RFC 9000, 14.1); smaller ones are never answered.
_MIN_INITIAL_BYTES = 1200
_MIN_INITIAL_CONNECTION_ID = 8
#: A stateless reset looks like a short packet of this size at most, and is always smaller than what it answers.
_RESET_BYTES = 42
_MIN_RESET_BYTES = 21
_ANSWERS_PER_S = 1000


class RateLimit:
    """A token bucket that holds one second's worth."""

    def __init__(self, per_second: int) -> None:
        self._rate = per_second
        self._tokens = float(per_second)
        self._at: float | None = None

    def allow(self, now: float) -> bool:
        """Take one token, if there is one."""
        if self._at is not None:
            self._tokens = min(self._rate, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client may begin: the connection IDs that its transport parameters must name."""

    destination: bytes
    original_destination: bytes
    retry_source: bytes | None


class Admission:
    """Decides about new clients and answers strangers.

    Attributes:
        draining: Refuse every new connection.
    """

    def __init__(self, options: EndpointOptions, ids: ConnectionIds) -> None:
        self.draining = False
        self._options = options
        self._ids = ids
        self._limit = RateLimit(_ANSWERS_PER_S)
        self._tokens = QuicRetryTokenHandler()
        if options.retry_key is not None:
            self._tokens._aead = AESGCM(options.retry_key)

    def consider(self, data: bytes, address: Address, now: float, half_open: int) -> Admitted | bytes | None:
        """Judge a long-header datagram for an unknown connection ID.

        Returns:
            Whom to admit, a datagram to answer, or None to stay silent.
        """
        if len(data) < _MIN_INITIAL_BYTES:
            return None
        if int.from_bytes(data[1:5], "big") not in SUPPORTED_VERSIONS:
            return self._version_negotiation(data, now)
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CONNECTION_ID_BYTES)
        except ValueError:
            return None
        if header.packet_type is not QuicPacketType.INITIAL or len(header.destination_cid) < _MIN_INITIAL_CONNECTION_ID:
            return None
        if self.draining or half_open >= self._options.max_half_open:
            return self._close(header, QuicErrorCode.CONNECTION_REFUSED, now)
        under_load = half_open >= self._options.retry_threshold
        if not header.token:
            return (
                self._retry(header, address, now) if under_load else Admitted(header.destination_cid, header.destination_cid, None)
            )
        try:
            original = self._tokens.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:
            return self._close(header, QuicErrorCode.INVALID_TOKEN, now)
        return Admitted(header.destination_cid, original, header.destination_cid)

    def stateless_reset(self, data: bytes, now: float) -> bytes | None:
        """Answer a short-header datagram of an unknown connection, so that its sender can give up at once."""
        size = min(len(data) - 1, _RESET_BYTES)
        if size < _MIN_RESET_BYTES or not self._limit.allow(now):
            return None
        token = self._ids.reset_token(data[1 : 1 + CONNECTION_ID_BYTES])
        noise = bytearray(os.urandom(size - len(token)))
        noise[0] = noise[0] & 0x3F | 0x40
        return bytes(noise) + token

    def _version_negotiation(self, data: bytes, now: float) -> bytes | None:
        destination_end = 6 + data[5]
        source_end = destination_end + 1 + data[destination_end] if destination_end < len(data) else len(data)
        # Version 0 is itself a version negotiation: answering it could go on for ever.
        if data[1:5] == bytes(4) or source_end >= len(data) or not self._limit.allow(now):
            return None
        return encode_quic_version_negotiation(
            source_cid=data[6:destination_end],
            destination_cid=data[destination_end + 1 : source_end],
            supported_versions=SUPPORTED_VERSIONS,
        )

    def _retry(self, header: QuicHeader, address: Address, now: float) -> bytes | None:
        if not self._limit.allow(now):
            return None
        assert header.version is not None
        source = self._ids.new()
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=now,
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )

    def _close(self, header: QuicHeader, code: QuicErrorCode, now: float) -> bytes | None:
        """Build an Initial packet with CONNECTION_CLOSE; its keys follow from the client's own connection ID."""
        if not self._limit.allow(now):
            return None
        assert header.version is not None
        crypto = CryptoPair()
        crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
        builder = QuicPacketBuilder(
            host_cid=header.destination_cid,
            is_client=False,
            max_datagram_size=_MIN_INITIAL_BYTES,
            peer_cid=header.source_cid,
            version=header.version,
        )
        builder.start_packet(QuicPacketType.INITIAL, crypto)
        buffer = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=TRANSPORT_CLOSE_FRAME_CAPACITY)
        buffer.push_uint_var(code)
        buffer.push_uint_var(QuicFrameType.PADDING)
        buffer.push_uint_var(0)
        return builder.flush()[0][0]
