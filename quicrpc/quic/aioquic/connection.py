"""One QUIC connection: credit that follows consumption, watermarks, and what an endpoint keeps about it."""

from __future__ import annotations

import functools
import hmac
import os
from collections.abc import Callable
from typing import Any

import aioquic.quic.connection as upstream
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.connection import Limit, QuicConnectionId, QuicReceiveContext
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType, pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from quicrpc.quic.aioquic.guards import GuardedConnection
from quicrpc.quic.aioquic.logs import ConnectionLog, log
from quicrpc.quic.aioquic.recovery import Recovery
from quicrpc.quic.aioquic.timers import Timer
from quicrpc.quic.engine import EndpointOptions

__all__ = ["CONNECTION_ID_BYTES", "Connection", "ConnectionIds", "number_of"]

CONNECTION_ID_BYTES = 8
_MAX_UDP_PAYLOAD_SIZE = 0x03  # transport parameter, RFC 9000, 18.2
_ONE_RTT = tls.Epoch.ONE_RTT

# Thirty-three equal sets for each connection otherwise (9 KiB).
upstream.EPOCHS = functools.cache(upstream.EPOCHS)


def number_of(stream: QuicStream) -> int:
    """Return a stream's ID; only CRYPTO streams, which are on no list, have none."""
    assert stream.stream_id is not None
    return stream.stream_id


class ConnectionIds:
    """Makes an endpoint's connection IDs and their stateless reset tokens (RFC 9000, 5.1 and 10.3)."""

    def __init__(self, reset_key: bytes | None, prefix: Callable[[], int] | None) -> None:
        self._key = reset_key if reset_key is not None else os.urandom(32)
        self._prefix = prefix

    def new(self) -> bytes:
        """Return a new connection ID."""
        if self._prefix is None:
            return os.urandom(CONNECTION_ID_BYTES)
        return bytes((self._prefix(),)) + os.urandom(CONNECTION_ID_BYTES - 1)

    def reset_token(self, connection_id: bytes) -> bytes:
        """Return the 16 bytes that end this connection's peer's patience; the same in every process with the same key."""
        return hmac.digest(self._key, connection_id, "sha256")[:16]


class Connection(GuardedConnection):
    """A ``QuicConnection`` with back-pressure in both directions.

    Receive credit is returned for what was handed over, except on paused streams. Upstream returns it for what was received and
    doubles it each time, so a peer could send without limit to a program that reads nothing.

    Attributes:
        number: The endpoint's name for it.
        timer: Its place in the endpoint's queue.
        routes: Connection IDs under which the endpoint finds it.
        dirty: Waits for the endpoint's next flush.
        handshake_done: HANDSHAKE_DONE was reported.
        handshake_deadline: When it must be done; None before the first flush of a client.
        half_open: Counted among the server's half-open connections.
        consumed: Bytes of all streams handed over and not held back.
        held: Bytes handed over on each paused stream since it was paused.
        stopped: Streams whose data is thrown away since ``stop_sending``.
        waiting: Streams with an announced WRITABLE.
        awaiting_bidi, awaiting_uni: ``open`` returned None for this kind.
        closed_by_peer: The close came from the peer.
    """

    def __init__(
        self,
        number: int,
        options: EndpointOptions,
        configuration: QuicConfiguration,
        ids: ConnectionIds,
        set_up_tls: Callable[[tls.Context], None],
        **arguments: Any,
    ) -> None:
        super().__init__(configuration=configuration, **arguments)
        self.number = number
        self.timer: Timer[Any] = Timer(self)
        self.routes: list[bytes] = []
        self.dirty = False
        self.handshake_done = False
        self.handshake_deadline: float | None = None
        self.half_open = False
        self.consumed = 0
        self.held: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.waiting: set[int] = set()
        self.awaiting_bidi = self.awaiting_uni = False
        self.closed_by_peer = False
        self.datagrams_received = 0
        self.bytes_received = 0
        self._options = options
        self._ids = ids
        self._set_up_tls = set_up_tls
        self._stream_window = options.stream_window_bytes
        self._connection_window = options.connection_window_bytes
        self._replace_first_connection_id()
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = options.max_streams_bidi
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = options.max_streams_uni
        self._logger: Any = ConnectionLog(self.original_destination_connection_id.hex())
        self._loss: Recovery = Recovery(
            congestion_control_algorithm=configuration.congestion_control_algorithm,
            initial_rtt=configuration.initial_rtt,
            max_datagram_size=self._max_datagram_size,
            peer_completed_address_validation=not self._is_client,
            quic_logger=self._quic_logger,
            send_probe=self._send_probe,
            logger=self._logger,
        )

    # Identity

    def _replace_first_connection_id(self) -> None:
        first = self._host_cids[0]
        first.cid = self.host_cid = self._local_initial_source_connection_id = self._ids.new()
        if not self._is_client:  # a client cannot tell its first token (RFC 9000, 18.2)
            first.stateless_reset_token = self._ids.reset_token(first.cid)

    def _replenish_connection_ids(self) -> None:
        while len(self._host_cids) < min(8, self._remote_active_connection_id_limit):
            connection_id = self._ids.new()
            self._host_cids.append(
                QuicConnectionId(
                    cid=connection_id,
                    sequence_number=self._host_cid_seq,
                    stateless_reset_token=self._ids.reset_token(connection_id),
                )
            )
            self._host_cid_seq += 1

    def _serialize_transport_parameters(self) -> bytes:
        limit = encode_uint_var(self._options.max_receive_datagram_bytes)
        parameter = encode_uint_var(_MAX_UDP_PAYLOAD_SIZE) + encode_uint_var(len(limit)) + limit
        return super()._serialize_transport_parameters() + parameter

    # Handshake

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._set_up_tls(self.tls)

    @property
    def can_open(self) -> bool:
        """Streams may be opened: the peer's limits are known, from the handshake or from a ticket."""
        if self._handshake_complete or not self._is_client:
            return True
        return self._cryptos[tls.Epoch.ZERO_RTT].send.is_valid()

    def repeat_rejected_early_data(self, now: float) -> None:
        """Client: the server has refused 0-RTT, so send all of it again at once, under the limits that hold now.

        Without this, loss detection finds out a round trip later.
        """
        space = self._spaces[_ONE_RTT]
        packets = [packet for packet in space.sent_packets.values() if packet.packet_type is QuicPacketType.ZERO_RTT]
        self._loss._on_packets_lost(congestion_event=False, now=now, packets=packets, space=space)
        for stream_id, stream in self._streams.items():
            if stream_id & 1:
                continue  # the server's
            if stream_id & 2:
                limit, blocked = self._remote_max_streams_uni, self._streams_blocked_uni
                stream.max_stream_data_remote = self._remote_max_stream_data_uni
            else:
                limit, blocked = self._remote_max_streams_bidi, self._streams_blocked_bidi
                stream.max_stream_data_remote = self._remote_max_stream_data_bidi_remote
            if stream_id // 4 >= limit and not stream.is_blocked:
                stream.is_blocked = self._streams_blocked_pending = True
                blocked.append(stream)

    def migrate(self) -> None:
        """Client: the local address has changed. Use a new connection ID, forget the old path's capacity (RFC 9000, 9.4, 9.5)."""
        recovery = self._loss
        in_flight = recovery.bytes_in_flight
        recovery._cc = create_congestion_control(
            self._configuration.congestion_control_algorithm, max_datagram_size=self._max_datagram_size
        )
        recovery._cc.bytes_in_flight = in_flight
        recovery._rtt_initialized = False
        self.change_connection_id()
        self.send_ping(0)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        if self._max_datagram_size > SMALLEST_MAX_DATAGRAM_SIZE:
            limit = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
            if limit is not None:
                self._max_datagram_size = min(self._max_datagram_size, limit)

    def _confirm_handshake(self) -> None:
        super()._confirm_handshake()
        # Three buffers of 16 KiB for CRYPTO data; after the handshake neither role sends any.
        self._crypto_buffers = {}

    def _push_crypto_data(self) -> None:
        if self._crypto_buffers:
            super()._push_crypto_data()

    # Close

    def _handle_connection_close_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        self.closed_by_peer = self._close_event is None
        super()._handle_connection_close_frame(context, frame_type, buf)

    @property
    def is_closing(self) -> bool:
        """Closed by either side or by time; the event is known."""
        return self._close_event is not None

    def _close_end(self) -> None:
        try:
            super()._close_end()
        except OSError:  # a full disk is no reason to fail
            log.warning("qlog file not written", exc_info=True)
            self._quic_logger = None

    def close_quietly(self, reason: str, *, by_peer: bool) -> None:
        """End without telling the peer, which is gone or knows already."""
        if self._close_event is None:
            self.closed_by_peer = by_peer
            self._close_event = ConnectionTerminated(QuicErrorCode.NO_ERROR, QuicFrameType.PADDING, reason)
            self._close_end()

    def handle_timer(self, now: float) -> None:
        """Run what is due at ``now``."""
        if self._close_event is None:
            if self.handshake_deadline is not None and now >= self.handshake_deadline and not self.handshake_done:
                self.close(QuicErrorCode.NO_ERROR, QuicFrameType.PADDING, "handshake timeout")
                return
            if self._close_at is not None and now >= self._close_at:
                self.close_quietly("idle timeout", by_peer=False)
                return
        if self._close_at is not None:
            super().handle_timer(now)

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` must be called, the handshake deadline included."""
        due = self.get_timer()
        deadline = self.handshake_deadline
        if deadline is not None and not self.handshake_done and (due is None or deadline < due):
            return deadline
        return due

    # Receiving

    def take(self, stream_id: int, size: int) -> None:
        """Note bytes handed over."""
        if stream_id in self.held:
            self.held[stream_id] += size
        else:
            self.consumed += size

    def take_reset(self, stream_id: int) -> None:
        """Return the credit of what a reset stream held back or never handed over (RFC 9000, 4.5: its final size counts)."""
        receiver = self._streams[stream_id].receiver
        self.consumed += self.held.pop(stream_id, 0) + receiver.highest_offset - receiver.starting_offset()

    def pause(self, stream_id: int) -> None:
        """Hold credit back from here on."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.held.setdefault(stream_id, 0)

    def resume(self, stream_id: int) -> None:
        """Return what was held back."""
        self.consumed += self.held.pop(stream_id, 0)

    def stop(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING and throw away what still comes."""
        stream = self._streams.get(stream_id)
        self.resume(stream_id)
        if stream is not None and not stream.receiver.is_finished and stream_id not in self.stopped:
            self.stopped.add(stream_id)
            stream.receiver.stop(code)

    def _due_connection_limits(self) -> list[Limit]:
        """Raise the limits that it is time to raise and return those that the peer does not know yet."""
        credit = self._local_max_data
        value = self.consumed + self._connection_window
        # A quarter of the window at a time: often enough never to stall a steady sender, rare enough to cost nothing.
        if value - credit.value >= self._connection_window // 4:
            credit.value = value
        due = [credit] if credit.value != credit.sent else []
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            # Sent in batches: once the peer has fewer streams left than the new limit grants.
            if limit.value != limit.sent and limit.sent - limit.used < limit.value - limit.sent:
                due.append(limit)
        return due

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        for limit in self._due_connection_limits():
            self._write_limit(builder, limit)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Limit) -> None:
        buffer = builder.start_frame(
            limit.frame_type,
            capacity=upstream.CONNECTION_LIMIT_FRAME_CAPACITY,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        buffer.push_uint_var(limit.value)
        limit.sent = limit.value

    def _owes_credit(self, stream: QuicStream) -> bool:
        """Raise a stream's limit if it is time, and tell whether the peer does not know it yet."""
        receiver = stream.receiver
        if receiver.is_finished:
            return False
        value = receiver._buffer_start - self.held.get(number_of(stream), 0) + self._stream_window
        if value - stream.max_stream_data_local >= self._stream_window // 4:
            stream.max_stream_data_local = value
        return stream.max_stream_data_local != stream.max_stream_data_local_sent

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if self._owes_credit(stream):
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=upstream.MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            buffer.push_uint_var(number_of(stream))
            buffer.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    # Sending

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Build what may be sent at ``now``: all of it, or as much as one flush may take."""
        self._loss.pacer.begin_flush()
        return super().datagrams_to_send(now)

    def open(self, bidirectional: bool) -> int | None:
        """Open a stream, if the peer's limit allows it."""
        stream_id = self._local_next_stream_id_bidi if bidirectional else self._local_next_stream_id_uni
        limit = self._remote_max_streams_bidi if bidirectional else self._remote_max_streams_uni
        if stream_id // 4 >= limit or not self.can_open:
            if bidirectional:
                self.awaiting_bidi = True
            else:
                self.awaiting_uni = True
            return None
        self._get_or_create_stream_for_send(stream_id)
        return stream_id

    def streams_became_available(self) -> bool:
        """Tell, once, that ``open`` would now succeed where it failed."""
        if not self.can_open:
            return False
        available = False
        if self.awaiting_bidi and self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi:
            self.awaiting_bidi, available = False, True
        if self.awaiting_uni and self._local_next_stream_id_uni // 4 < self._remote_max_streams_uni:
            self.awaiting_uni, available = False, True
        return available

    def write(self, stream_id: int, data: bytes, fin: bool) -> bool:
        """Take data; False above the high watermark. Dropped after a reset or once the stream is gone.

        Raises:
            ValueError: The stream was never opened, or is the peer's to write.
            RuntimeError: There was a FIN before.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._stream_can_send(stream_id) and self._stream_is_discarded(stream_id):
                return True
            raise ValueError(f"stream {stream_id} is not open for sending")
        sender = stream.sender
        if sender._reset_error_code is not None:
            return True
        sender.write(data, fin)
        if sender._buffer_stop - sender.highest_offset < self._options.send_high_bytes:
            return True
        self.waiting.add(stream_id)
        return False

    def writable_streams(self) -> list[int]:
        """Return the waiting streams that have drained, or can no longer drain, and stop waiting for them."""
        low = self._options.send_low_bytes
        ready = []
        for stream_id in self.waiting:
            stream = self._streams.get(stream_id)
            sender = None if stream is None else stream.sender
            if sender is None or sender._reset_error_code is not None or sender._buffer_stop - sender.highest_offset <= low:
                ready.append(stream_id)
        self.waiting.difference_update(ready)
        return ready

    def reset(self, stream_id: int, code: int) -> None:
        """Send RESET_STREAM, unless all data and the FIN have been sent."""
        stream = self._streams.get(stream_id)
        if stream is not None and not (stream.sender._buffer_fin is not None and stream.sender.buffer_is_empty):
            stream.sender.reset(code)
