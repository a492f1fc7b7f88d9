"""Building 1-RTT packets of ACK, STREAM, RESET_STREAM, STOP_SENDING, PING and flow-control frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.stream import QuicStream

from quicrpc.quic.aioquic.fastpath.frames import encode_varint, ranges_of, write_ack
from quicrpc.quic.aioquic.fastpath.receive import FastReceive

__all__ = ["FastConnection"]

Handlers = list[tuple[Callable[..., None], Any]]

_CONNECTED = QuicConnectionState.CONNECTED
_ONE_RTT = tls.Epoch.ONE_RTT
_ONE_RTT_PACKET = QuicPacketType.ONE_RTT
_ACKED = QuicDeliveryState.ACKED

#: Short header, fixed bit, packet numbers of two bytes.
_FIRST_BYTE = 0x41
#: First byte and packet number, and the AEAD's tag.
_PACKET_OVERHEAD = 3 + 16
#: The largest frame of two or three integers of eight bytes.
_LARGEST_CONTROL_FRAME = 1 + 3 * 8
#: Length of a STREAM frame: always in two bytes.
_LENGTH_BYTES = 2
_PING = b"\x01"
#: Acknowledge at once after this many ack-eliciting packets (RFC 9000, 13.2.2 recommends two, and fewer ACKs where that costs):
#: what one wake-up reads is acknowledged once, however much it is.
_ACK_AFTER_PACKETS = 8


class FastConnection(FastReceive):
    """A connection whose ordinary 1-RTT packets are read and built in one pass each.

    Upstream builds a flush as soon as anything else waits to be sent (see ``_needs_upstream``); the two share all state, so they
    may alternate from flush to flush.
    """

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Build what may be sent at ``now``: all of it, or as much as one flush may take."""
        if self._is_fast:
            if self._packet_number >= self._next_skip:
                self._skip_packet_number()
            if not self._needs_upstream():
                self._loss.pacer.begin_flush()
                self._discard_ended()
                return self._build_packets(now)
            self._queue_streams()
        datagrams = super().datagrams_to_send(now)
        self._unacknowledged = 0
        if not self._is_fast:
            self._is_fast = self._may_be_fast()
        if self._is_fast:
            self._survey_streams()
        return datagrams

    def _may_be_fast(self) -> bool:
        """Decide, once the handshake is confirmed: no qlog, and no more 0-RTT packets can come."""
        if not self._handshake_confirmed or self._quic_logger is not None or self._cryptos[tls.Epoch.ZERO_RTT].recv.is_valid():
            return False
        self._one_rtt, self._space = self._cryptos[_ONE_RTT], self._spaces[_ONE_RTT]
        return True

    def _needs_upstream(self) -> bool:
        """Tell whether anything but ordinary frames waits to be sent."""
        paths = self._network_paths
        return (
            self._state is not _CONNECTED
            or self._close_pending
            or self._handshake_done_pending
            or self._ids_pending
            or self._streams_blocked_pending
            or not paths[0].is_validated
            or (
                len(paths) > 1
                and any(path.remote_challenges or not (path.is_validated or path.local_challenge_sent) for path in paths[1:])
            )
            or bool(self._retire_connection_ids or self._datagrams_pending or paths[0].remote_challenges)
            or self._remote_preferred_address is not None
            or self._one_rtt._update_key_requested
            or not self._crypto_streams[_ONE_RTT].sender.buffer_is_empty
        )

    def _build_packets(self, now: float) -> list[tuple[bytes, Any]]:
        recovery, space, path = self._loss, self._space, self._network_paths[0]
        pacer, congestion = recovery.pacer, recovery._cc
        send = self._one_rtt.send
        aead, hp = send.aead, send.hp
        assert aead is not None
        assert hp is not None
        encrypt, iv, header_mask = aead._aead.encrypt, aead._iv, hp._mask
        connection_id = self._peer_cid.cid
        first = _FIRST_BYTE | self._spin_bit << 5 | send.key_phase << 2
        first_and_id = first.to_bytes(1, "big") + connection_id
        overhead = _PACKET_OVERHEAD + len(connection_id)
        capacity = self._max_datagram_size - overhead
        datagrams: list[tuple[bytes, Any]] = []
        limits = self._due_connection_limits()
        window = congestion.congestion_window - congestion.bytes_in_flight
        if self._probe_pending and window < self._max_datagram_size:
            window = self._max_datagram_size  # a probe may exceed the congestion window (RFC 9002, 7.5)
        self._pacing_at = None

        while True:
            frames: list[bytes | bytearray] = []
            handlers: Handlers = []
            size = 0
            ack_at = space.ack_at
            if ack_at is not None and (ack_at <= now or self._unacknowledged >= _ACK_AFTER_PACKETS):
                ranges = ranges_of(space.ack_queue)
                frames.append(write_ack(ranges, int((now - space.largest_received_time) * 1_000_000) >> 3))  # type: ignore[operator]
                handlers.append((self._on_ack_frame_delivery, (space.largest_received_packet,)))
                size = len(frames[0])
                space.ack_at = None
                self._unacknowledged = 0
                ask_for_ack = len(ranges) > 1 and self._packet_number % 8 == 0
            else:
                if not (self._ready or self._credited or limits or self._probe_pending or self._ping_pending):
                    break
                self._pacing_at = pacer.next_send_time(now)
                if self._pacing_at is not None:
                    break
                ask_for_ack = False
            ack_size = size
            room = min(capacity, window - overhead)
            if limits or self._credited or self._ping_pending or self._probe_pending or ask_for_ack:
                size = self._add_control_frames(frames, handlers, limits, size, room, ask_for_ack)
            if self._ready:
                size = self._add_stream_frames(frames, handlers, size, room)
            if not size:
                break
            number = self._packet_number
            body = b"".join(frames)
            if size < 2:
                body += b"\0"  # header protection samples from the fourth byte after the packet number's first (RFC 9001, 5.4.2)
            truncated = number & 0xFFFF
            sealed = encrypt((iv ^ number).to_bytes(12, "big"), body, first_and_id + truncated.to_bytes(2, "big"))
            mask = header_mask(sealed[2:18])
            protected = truncated ^ (mask[1] << 8 | mask[2])
            datagram = b"%c%b%b%b" % (first ^ mask[0] & 0x1F, connection_id, protected.to_bytes(2, "big"), sealed)
            length = len(datagram)
            is_ack_eliciting = size > ack_size
            packet = QuicSentPacket(
                _ONE_RTT, is_ack_eliciting, is_ack_eliciting, False, number, _ONE_RTT_PACKET, now, length, handlers, []
            )
            self._packet_number = number + 1
            recovery.on_packet_sent(packet=packet, space=space)
            pacer.update_after_send(now)
            path.bytes_sent += length
            datagrams.append((datagram, path.addr))
            if is_ack_eliciting:
                window -= length
                if not self._ack_eliciting_sent_since_receipt:
                    self._close_at = now + self._idle_timeout()
                    self._ack_eliciting_sent_since_receipt = True
        return datagrams

    def _add_control_frames(
        self, frames: list[bytes | bytearray], handlers: Handlers, limits: list[Any], size: int, room: int, ask_for_ack: bool
    ) -> int:
        """Add limits and PING while they fit; returns the new size of the packet's payload."""
        while limits and size + _LARGEST_CONTROL_FRAME <= room:
            limit = limits.pop()
            frame = encode_varint(limit.frame_type) + encode_varint(limit.value)
            limit.sent = limit.value
            handlers.append((self._on_connection_limit_delivery, (limit,)))
            frames.append(frame)
            size += len(frame)
        while self._credited and size + _LARGEST_CONTROL_FRAME <= room:
            stream_id, stream = self._credited.popitem()
            if self._owes_credit(stream):
                frame = b"\x11" + encode_varint(stream_id) + encode_varint(stream.max_stream_data_local)
                stream.max_stream_data_local_sent = stream.max_stream_data_local
                handlers.append((self._on_max_stream_data_delivery, (stream,)))
                frames.append(frame)
                size += len(frame)
        if size < room and (ask_for_ack or self._ping_pending or self._probe_pending):
            frames.append(_PING)
            handlers.append((self._on_ping_delivery, (tuple(self._ping_pending),)))
            self._ping_pending.clear()
            self._probe_pending = False
            size += 1
        return size

    def _add_stream_frames(self, frames: list[bytes | bytearray], handlers: Handlers, size: int, room: int) -> int:
        """Add what streams have to send, in turn, until the packet is full; returns the new size of its payload."""
        ready = self._ready
        while ready:
            stream_id, stream = ready.popitem(last=False)
            sender = stream.sender
            if sender.reset_pending or stream.receiver.stop_pending:
                if size + 2 * _LARGEST_CONTROL_FRAME > room:
                    self._take_first(stream_id, stream)
                    break
                size += self._add_abort_frames(frames, handlers, stream)
            if sender.buffer_is_empty or stream.is_blocked or sender._reset_error_code is not None:
                continue
            pending = ranges_of(sender._pending)
            header = encode_varint(stream_id)
            if pending:
                start, end = pending[0].start, pending[0].stop
            elif sender._pending_eof:
                start = end = sender._buffer_stop
            else:
                sender.buffer_is_empty = True
                continue
            kind = 0x0A
            if start:
                kind = 0x0E
                header += encode_varint(start)
            space = room - size - 1 - len(header) - _LENGTH_BYTES
            if space < 0 or (space == 0 and pending):
                self._take_first(stream_id, stream)
                break
            stop = min(end, start + space)
            if pending:
                allowed = sender.highest_offset + self._remote_max_data - self._remote_max_data_used
                if stop > allowed or stop > stream.max_stream_data_remote:
                    stop = min(allowed, stream.max_stream_data_remote)
                    if stop <= start:
                        # Until MAX_DATA or MAX_STREAM_DATA makes it ready again.
                        if allowed <= start:
                            self._stalled[stream_id] = stream
                        continue
                if stop == end:
                    del pending[0]
                else:
                    pending[0] = range(stop, end)
                if stop > sender.highest_offset:
                    self._remote_max_data_used += stop - sender.highest_offset
                    sender.highest_offset = stop
            fin = sender._buffer_fin == stop
            if fin:
                kind |= 1
                sender._pending_eof = False
            base = sender._buffer_start
            frames.append(b"%c%b%b" % (kind, header, (0x4000 | stop - start).to_bytes(2, "big")))
            frames.append(sender._buffer[start - base : stop - base])
            handlers.append((self._on_stream_delivery, (stream, start, stop, fin)))
            size += 1 + len(header) + _LENGTH_BYTES + stop - start
            if pending or sender._pending_eof:
                ready[stream_id] = stream
            else:
                sender.buffer_is_empty = True
        return size

    def _take_first(self, stream_id: int, stream: QuicStream) -> None:
        """Keep a stream's turn for the next packet."""
        self._ready[stream_id] = stream
        self._ready.move_to_end(stream_id, last=False)

    def _add_abort_frames(self, frames: list[bytes | bytearray], handlers: Handlers, stream: QuicStream) -> int:
        size = 0
        if stream.receiver.stop_pending:
            stop = stream.receiver.get_stop_frame()
            frame = encode_varint(QuicFrameType.STOP_SENDING) + encode_varint(stop.stream_id) + encode_varint(stop.error_code)
            handlers.append((self._on_stop_sending_delivery, (stream,)))
            frames.append(frame)
            size += len(frame)
        if stream.sender.reset_pending:
            reset = stream.sender.get_reset_frame()
            frame = encode_varint(QuicFrameType.RESET_STREAM) + encode_varint(reset.stream_id)
            frame += encode_varint(reset.error_code) + encode_varint(reset.final_size)
            handlers.append((self._on_reset_delivery, (stream,)))
            frames.append(frame)
            size += len(frame)
        return size

    def _on_ack_frame_delivery(self, delivery: QuicDeliveryState, highest: int) -> None:
        # One range needs no trimming: it stays as short as it is.
        if delivery is _ACKED and len(self._space.ack_queue) > 1:
            self._space.ack_queue.subtract(0, highest + 1)

    def get_timer(self) -> float | None:
        """Return when ``handle_timer`` must be called."""
        due = self._close_at
        if not self._is_fast or due is None or self._state is not _CONNECTED or not self._network_paths[0].is_validated:
            return super().get_timer()
        space, recovery = self._space, self._loss
        if space.loss_time is not None:
            self._loss_at = space.loss_time
        elif space.ack_eliciting_in_flight:
            timeout = recovery.get_probe_timeout() * 2**recovery._pto_count
            self._loss_at = recovery._time_of_last_sent_ack_eliciting_packet + timeout
        else:
            self._loss_at = None
        for at in (space.ack_at, self._loss_at, self._pacing_at):
            if at is not None and at < due:
                due = at
        return due
