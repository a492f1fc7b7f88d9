"""Limits that aioquic lacks. Each one says what cost or attack it bounds; a peer that exceeds one loses its connection."""

from __future__ import annotations

import secrets
from collections import deque
from typing import Any, cast

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, pull_ack_frame

__all__ = ["GuardedConnection"]

#: Bytes of TLS messages a peer may send. One Initial with a far offset pins the whole distance, before any address is proven.
MAX_CRYPTO_BYTES = 16 * 1024
#: Separate pieces of a CRYPTO stream. Every frame walks the list: without a bound a datagram costs 90 ms.
MAX_CRYPTO_GAPS = 32
#: Separate pieces of one stream; the same walk.
MAX_STREAM_GAPS = 256
#: Ranges of one ACK frame. Stacks keep 64 or so; ours costs time in proportion.
MAX_ACK_RANGES = 256
#: A packet number is left out once in this many packets on average, to catch a peer that acknowledges what it never saw
#: (RFC 9000, 21.4), and acknowledged numbers are checked against the last few left out.
SKIP_INTERVAL = 512
_SKIPPED_KEPT = 8
#: AES-GCM may seal 2^23 packets with one key (RFC 9001, 6.6).
KEY_UPDATE_PACKETS = 2**20
#: Reasons come back in one packet: a longer one could not be sent at all.
MAX_REASON_BYTES = 256


class GuardedConnection(QuicConnection):
    """A ``QuicConnection`` that closes on abuse instead of paying for it.

    Attributes:
        packets_skipped: Packet numbers left out so far.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._next_skip = secrets.randbelow(2 * SKIP_INTERVAL) + 16
        self.packets_skipped = 0
        self._skipped: deque[int] = deque(maxlen=_SKIPPED_KEPT)
        self._next_key_update = KEY_UPDATE_PACKETS

    def close(self, error_code: int = QuicErrorCode.NO_ERROR, frame_type: int | None = None, reason_phrase: str = "") -> None:
        """Close; the reason is cut to what one packet holds."""
        if len(reason_phrase) * 4 > MAX_REASON_BYTES:
            reason_phrase = reason_phrase.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        super().close(error_code=error_code, frame_type=frame_type, reason_phrase=reason_phrase)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Build what may be sent at ``now``; on the way leave out packet numbers and change keys when it is time."""
        if self._packet_number >= self._next_skip and self._handshake_confirmed:
            self._skip_packet_number()
        return super().datagrams_to_send(now)

    def _skip_packet_number(self) -> None:
        self._skipped.append(self._packet_number)
        self._packet_number += 1
        self.packets_skipped += 1
        self._next_skip = self._packet_number + secrets.randbelow(2 * SKIP_INTERVAL) + 16
        if self._packet_number >= self._next_key_update:
            self._next_key_update = self._packet_number + KEY_UPDATE_PACKETS
            self.request_key_update()

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        try:
            return super()._payload_received(context, plain, crypto_frame_required)
        except QuicConnectionError as error:
            if error.frame_type is None:  # upstream would send it as an application's close
                error.frame_type = QuicFrameType.PADDING
            raise

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        # The whole of upstream's handler, because the parsed ranges are needed between its steps.
        start = buf.tell()
        buf.pull_uint_var()
        buf.pull_uint_var()
        if buf.pull_uint_var() > MAX_ACK_RANGES:
            raise _violation(frame_type, "too many ACK ranges")
        buf.seek(start)
        try:
            ranges, encoded_delay = pull_ack_frame(buf)
        except ValueError as error:
            raise QuicConnectionError(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, str(error)) from error
        if frame_type == QuicFrameType.ACK_ECN:
            for _ in range(3):
                buf.pull_uint_var()
        if ranges.bounds().stop > self._packet_number or any(number in ranges for number in self._skipped):
            raise _violation(frame_type, "acknowledged a packet that was not sent")
        delay = (encoded_delay << self._remote_ack_delay_exponent) / 1_000_000
        if self._quic_logger is not None and context.quic_logger_frames is not None:
            context.quic_logger_frames.append(self._quic_logger.encode_ack_frame(ranges, delay))
        if context.epoch in (tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT):
            self._loss.peer_completed_address_validation = True
        self._loss.on_ack_received(ack_rangeset=ranges, ack_delay=delay, now=context.time, space=self._spaces[context.epoch])

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        stop = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        receiver = self._crypto_streams[context.epoch].receiver
        # After the handshake tickets may come for ever; only what is not yet in order counts.
        base = receiver.starting_offset() if context.epoch is tls.Epoch.ONE_RTT else 0
        if stop - base > MAX_CRYPTO_BYTES:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too much CRYPTO data")
        super()._handle_crypto_frame(context, frame_type, buf)
        if len(receiver._ranges) > MAX_CRYPTO_GAPS or len(self.tls._receive_buffer) > MAX_CRYPTO_BYTES:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too much CRYPTO data out of order")

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(start)
        super()._handle_stream_frame(context, frame_type, buf)
        stream = self._streams.get(stream_id)
        if stream is not None and len(stream.receiver._ranges) > MAX_STREAM_GAPS:
            raise _violation(frame_type, "too many gaps in a stream")

    def _handle_new_connection_id_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        sequence_number, retire_prior_to = buf.pull_uint_var(), buf.pull_uint_var()
        buf.seek(start)
        if retire_prior_to > sequence_number:
            # RFC 9000, 19.15; upstream answers PROTOCOL_VIOLATION
            raise QuicConnectionError(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, "Retire Prior To above Sequence Number")
        super()._handle_new_connection_id_frame(context, frame_type, buf)

    def _consume_peer_cid(self) -> None:
        if not self._peer_cid_available:
            # A peer can retire the active one when probing has reserved all the others.
            raise _violation(cast(int, QuicFrameType.NEW_CONNECTION_ID), "no connection ID left")
        super()._consume_peer_cid()


def _violation(frame_type: int, reason: str) -> QuicConnectionError:
    return QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, reason)
