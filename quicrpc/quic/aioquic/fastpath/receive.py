"""Receiving 1-RTT packets that carry ACK, STREAM, PING and PADDING frames; upstream reads everything else."""

from __future__ import annotations

from typing import Any

from aioquic import tls
from aioquic.quic.connection import QuicConnectionError, QuicConnectionState, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import decode_packet_number
from aioquic.quic.recovery import MAX_ACK_RANGES as KEPT_RANGES
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import StreamFinishedError
from cryptography.exceptions import InvalidTag

from quicrpc.quic.aioquic.fastpath.frames import AckedRanges, ranges_of, read_ack_ranges, read_varint
from quicrpc.quic.aioquic.fastpath.streams import TrackedStreams
from quicrpc.quic.aioquic.guards import MAX_ACK_RANGES

__all__ = ["FastReceive"]

_CONNECTED = QuicConnectionState.CONNECTED
_ONE_RTT = tls.Epoch.ONE_RTT

_FORM_AND_FIXED_BIT = 0xC0
_SHORT_HEADER = 0x40
_RESERVED_BITS = 0x18
_SPIN_BIT = 0x20
#: First byte, connection ID, packet number (4 bytes are assumed for sampling) and 16 bytes of sample (RFC 9001, 5.4.2).
_LEAST_PACKET = 29
_PADDING, _PING, _ACK = 0x00, 0x01, 0x02


class FastReceive(TrackedStreams):
    """Reads the packets of an ordinary exchange itself.

    A packet is taken only when nothing about it is unusual: path, connection ID, key phase, state. Frames are read from the front;
    from the first unusual one on (an unknown type, data out of order, a limit exceeded, a malformed field) the rest of the packet
    goes to upstream, before anything of that frame has had an effect, so every error is upstream's or the guards' own.

    Attributes:
        _is_fast: The handshake is confirmed and 1-RTT packets may take this path.
        _one_rtt: Keys of the 1-RTT space.
        _space: The application data packet number space.
        _unacknowledged: Ack-eliciting packets received since the last ACK was sent.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._is_fast = False
        self._one_rtt: CryptoPair
        self._space: QuicPacketSpace
        self._unacknowledged = 0
        self._idle_timeout_from = 0.0
        self._peer_bidirectional = 1 if self._is_client else 0

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Handle a datagram."""
        if (
            self._is_fast
            and data[0] & _FORM_AND_FIXED_BIT == _SHORT_HEADER
            and len(data) >= _LEAST_PACKET
            and data[1:9] == self.host_cid
            and self._state is _CONNECTED
            and not self._close_pending
        ):
            path = self._network_paths[0]
            if path.is_validated and path.addr == addr and self._receive_packet(data, path, now):
                return
        super().receive_datagram(data, addr, now)

    def _receive_packet(self, data: bytes, path: QuicNetworkPath, now: float) -> bool:
        """Read one 1-RTT packet. False: nothing was done, upstream has to do it."""
        keys = self._one_rtt.recv
        hp, aead = keys.hp, keys.aead
        assert hp is not None
        assert aead is not None
        mask = hp._mask(data[13:29])
        first = data[0] ^ (mask[0] & 0x1F)
        if first & _RESERVED_BITS or first >> 2 & 1 != keys.key_phase:
            return False
        size = (first & 3) + 1
        end = 9 + size
        space = self._space
        truncated = int.from_bytes(data[9:end], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        number = decode_packet_number(truncated, size * 8, space.expected_packet_number)
        try:
            plain = aead._aead.decrypt(
                (aead._iv ^ number).to_bytes(12, "big"),
                data[end:],
                first.to_bytes(1, "big") + data[1:9] + truncated.to_bytes(size, "big"),
            )
        except InvalidTag:
            return True  # forged or damaged
        largest = space.largest_received_packet
        if number <= largest and number in space.received_packets:
            return True
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit = (first & _SPIN_BIT != 0) is not self._is_client
            self._spin_highest_pn = number

        try:
            is_ack_eliciting = self._receive_frames(plain, data, path, now)
        except QuicConnectionError as error:
            self._logger.warning(error)
            self.close(error_code=error.error_code, frame_type=error.frame_type, reason_phrase=error.reason_phrase)
            return True
        if self._state is not _CONNECTED or self._close_pending:
            return True

        if now != self._idle_timeout_from or self._ack_eliciting_sent_since_receipt:
            self._idle_timeout_from = now
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = False
        self._record(space, number, largest, now, is_ack_eliciting)
        return True

    def _record(self, space: QuicPacketSpace, number: int, largest: int, now: float, is_ack_eliciting: bool) -> None:
        """Note a packet for acknowledgement and against duplicates."""
        if number > largest:
            space.largest_received_packet = number
            space.largest_received_time = now
        ranges = ranges_of(space.ack_queue)
        in_order = bool(ranges) and ranges[-1].stop == number
        if in_order:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            space.ack_queue.add(number)
            if len(ranges) > KEPT_RANGES:
                space.ack_queue.shift()
        space.received_packets.add(number)
        if is_ack_eliciting:
            self._unacknowledged += 1
            if not in_order and number != largest + 1:
                space.ack_at = now  # a gap was made or filled: the peer is to know at once (RFC 9000, 13.2.1)
            elif space.ack_at is None:
                space.ack_at = now + self._ack_delay

    def _receive_frames(self, plain: bytes, data: bytes, path: QuicNetworkPath, now: float) -> bool:
        """Read the frames of a packet; tells whether it is ack-eliciting.

        Raises:
            QuicConnectionError: The peer broke a rule.
        """
        at, end = 0, len(plain)
        is_ack_eliciting = False
        while at < end:
            kind = plain[at]
            try:
                if kind & 0xF8 == 0x08:
                    after = self._receive_stream_frame(plain, at, end, kind)
                elif kind == _ACK:
                    after = self._receive_ack_frame(plain, at + 1, now)
                elif kind == _PADDING:
                    at = end - len(plain[at:].lstrip(b"\0"))
                    continue
                elif kind == _PING:
                    after = at + 1
                else:
                    after = 0
            except IndexError:  # cut short: upstream says so
                after = 0
            if not after:
                break
            if kind != _ACK:
                is_ack_eliciting = True
            at = after
        if at < end or not end:
            context = QuicReceiveContext(
                epoch=_ONE_RTT, host_cid=data[1:9], network_path=path, quic_logger_frames=None, time=now, version=None
            )
            return self._payload_received(context, plain[at:])[0] or is_ack_eliciting
        return is_ack_eliciting

    def _receive_stream_frame(self, plain: bytes, at: int, end: int, kind: int) -> int:
        """Deliver data that continues a stream in order. Returns where the frame ends, 0 for upstream to read it."""
        stream_id = plain[at + 1]
        if stream_id < 0x40:
            at += 2
        else:
            stream_id, at = read_varint(plain, at + 1)
        offset = 0
        if kind & 4:
            offset, at = read_varint(plain, at)
        if kind & 2:
            length, at = read_varint(plain, at)
            after = at + length
        else:
            after = end
            length = end - at
        if after > end or length < 0:
            return 0
        stream = self._streams.get(stream_id)
        if stream is None:
            if offset or stream_id & 3 != self._peer_bidirectional:
                return 0
            try:
                stream = self._get_or_create_stream(kind, stream_id)
            except StreamFinishedError:
                return after
        receiver = stream.receiver
        stop = offset + length
        credit = self._local_max_data
        fin = kind & 1 == 1
        if (
            offset != receiver._buffer_start
            or offset != receiver.highest_offset
            or receiver.is_finished
            or receiver._final_size is not None
            or stop > stream.max_stream_data_local
            or credit.used + length > credit.value
            or not (length or fin)
        ):
            return 0
        receiver._buffer_start = receiver.highest_offset = stop
        credit.used += length
        if fin:
            receiver._final_size = stop
            receiver.is_finished = True
            if stream.sender.is_finished:
                self._ended.append(stream)
        elif stop + self._stream_window - stream.max_stream_data_local >= self._stream_window >> 2:
            self._credited[stream_id] = stream
        self._events.append(StreamDataReceived(plain[at:after], fin, stream_id))
        return after

    def _receive_ack_frame(self, plain: bytes, at: int, now: float) -> int:
        """Process an ACK frame. Returns where it ends, 0 for upstream (and the guards) to refuse it."""
        largest, at = read_varint(plain, at)
        encoded_delay, at = read_varint(plain, at)
        count, at = read_varint(plain, at)
        if largest >= self._packet_number or count > MAX_ACK_RANGES:
            return 0
        parsed = read_ack_ranges(plain, at, largest, count)
        if parsed is None:
            return 0
        ranges, at = parsed
        if self._skipped and self._skipped[-1] >= ranges[0].start and self._acknowledges_skipped(ranges):
            return 0
        self._loss.on_ack_received(
            ack_rangeset=ranges,  # type: ignore[arg-type]  # a RangeSet as far as recovery looks
            ack_delay=(encoded_delay << self._remote_ack_delay_exponent) / 1_000_000,
            now=now,
            space=self._space,
        )
        return at

    def _acknowledges_skipped(self, ranges: AckedRanges) -> bool:
        lowest = ranges[0].start
        return any(number >= lowest and any(number in acked for acked in ranges) for number in self._skipped)
