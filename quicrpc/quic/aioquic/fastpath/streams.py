"""Which streams have something to send, known without looking at all of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import RESET_STREAM_FRAME_CAPACITY, STOP_SENDING_FRAME_CAPACITY, QuicReceiveContext
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from quicrpc.quic.aioquic.connection import Connection, number_of
from quicrpc.quic.aioquic.fastpath.frames import ranges_of

__all__ = ["TrackedStreams"]

_ACKED = QuicDeliveryState.ACKED


class TrackedStreams(Connection):
    """A connection that keeps account of its streams while either path reads and writes for it.

    Upstream asks every stream for every packet. Here each event that gives a stream something to send puts it on a list: what is
    written, acknowledged, lost, received or credited, whichever path builds or reads the packet.

    Attributes:
        _ready: Streams with data, RESET_STREAM or STOP_SENDING to send, whose turn it is first.
        _stalled: Streams with data that wait for MAX_DATA.
        _credited: Streams that may have MAX_STREAM_DATA to send.
        _ended: Streams that were seen finished in both directions, to be discarded.
        _ids_pending: A connection ID may have to be announced.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._ready: OrderedDict[int, QuicStream] = OrderedDict()
        self._stalled: dict[int, QuicStream] = {}
        self._credited: dict[int, QuicStream] = {}
        self._ended: list[QuicStream] = []
        self._ids_pending = True
        super().__init__(*arguments, **keywords)

    # The two paths take over from each other

    def _queue_streams(self) -> None:
        """Give upstream its queue: all streams, those whose turn it is first."""
        ready = self._ready
        self._streams_queue = [stream for stream in ready.values() if stream.stream_id in self._streams]
        self._streams_queue += [stream for stream_id, stream in self._streams.items() if stream_id not in ready]

    def _survey_streams(self) -> None:
        """Take over from upstream: look at all streams once."""
        self._ready = OrderedDict((number_of(stream), stream) for stream in self._streams_queue if _has_something_to_send(stream))
        self._stalled.clear()
        self._credited = {stream_id: stream for stream_id, stream in self._streams.items() if self._owes_credit(stream)}
        self._ended = [stream for stream in self._ended if stream.stream_id in self._streams]
        self._ids_pending = not all(connection_id.was_sent for connection_id in self._host_cids)

    def _discard_ended(self) -> None:
        """Forget finished streams; the peer may open a new one for each of its own."""
        for stream in self._ended:
            stream_id = number_of(stream)
            if self._streams.pop(stream_id, None) is not None:
                self._ready.pop(stream_id, None)
                if stream_id & 1 == self._is_client:
                    self._stream_limit(stream_id).value += 1
        self._ended.clear()
        self._streams_queue.clear()  # upstream adds each new stream

    # Commands

    def write(self, stream_id: int, data: bytes, fin: bool) -> bool:
        """Take data; False above the high watermark. See :meth:`Connection.write`."""
        below_mark = super().write(stream_id, data, fin)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._ready[stream_id] = stream
        return below_mark

    def reset(self, stream_id: int, code: int) -> None:
        """Send RESET_STREAM, unless all data and the FIN have been sent."""
        super().reset(stream_id, code)
        self._make_ready(stream_id)

    def stop(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING and throw away what still comes."""
        super().stop(stream_id, code)
        self._make_ready(stream_id)

    def resume(self, stream_id: int) -> None:
        """Return what was held back."""
        super().resume(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._credited[stream_id] = stream

    def _make_ready(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._ready[stream_id] = stream

    # Frames read by upstream

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id = _peek_varint(buf)
        super()._handle_stream_frame(context, frame_type, buf)
        self._note_received(stream_id)

    def _handle_reset_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id = _peek_varint(buf)
        super()._handle_reset_stream_frame(context, frame_type, buf)
        self._note_received(stream_id)

    def _note_received(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._credited[stream_id] = stream
            if stream.is_finished:
                self._ended.append(stream)

    def _handle_stop_sending_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id = _peek_varint(buf)
        super()._handle_stop_sending_frame(context, frame_type, buf)
        self._make_ready(stream_id)

    def _handle_max_stream_data_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id = _peek_varint(buf)
        super()._handle_max_stream_data_frame(context, frame_type, buf)
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.sender.buffer_is_empty:
            self._ready[stream_id] = stream

    def _handle_max_data_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_max_data_frame(context, frame_type, buf)
        self._ready.update(self._stalled)
        self._stalled.clear()

    def _unblock_streams(self, is_unidirectional: bool) -> None:
        blocked = (*self._streams_blocked_bidi, *self._streams_blocked_uni)
        super()._unblock_streams(is_unidirectional)
        self._ready.update((number_of(stream), stream) for stream in blocked)

    # Frames written by upstream, so that both paths hear what became of them

    def _write_stream_frame(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream, max_offset: int) -> int:
        packet = builder._packet
        assert packet is not None
        count = len(packet.delivery_handlers)
        used = super()._write_stream_frame(builder, space, stream, max_offset)
        if len(packet.delivery_handlers) > count:
            _, arguments = packet.delivery_handlers[-1]
            packet.delivery_handlers[-1] = (self._on_stream_delivery, (stream, *arguments))
        return used

    def _write_reset_stream_frame(self, builder: QuicPacketBuilder, stream: QuicStream) -> None:
        buffer = builder.start_frame(
            QuicFrameType.RESET_STREAM,
            capacity=RESET_STREAM_FRAME_CAPACITY,
            handler=self._on_reset_delivery,
            handler_args=(stream,),
        )
        frame = stream.sender.get_reset_frame()
        buffer.push_uint_var(frame.stream_id)
        buffer.push_uint_var(frame.error_code)
        buffer.push_uint_var(frame.final_size)

    def _write_stop_sending_frame(self, builder: QuicPacketBuilder, stream: QuicStream) -> None:
        buffer = builder.start_frame(
            QuicFrameType.STOP_SENDING,
            capacity=STOP_SENDING_FRAME_CAPACITY,
            handler=self._on_stop_sending_delivery,
            handler_args=(stream,),
        )
        frame = stream.receiver.get_stop_frame()
        buffer.push_uint_var(frame.stream_id)
        buffer.push_uint_var(frame.error_code)

    def _replenish_connection_ids(self) -> None:
        self._ids_pending = True
        super()._replenish_connection_ids()

    # Delivery

    def _on_stream_delivery(self, delivery: QuicDeliveryState, stream: QuicStream, start: int, stop: int, fin: bool) -> None:
        """A STREAM frame was acknowledged or lost."""
        sender = stream.sender
        if (
            delivery is _ACKED
            and start == sender._buffer_start
            and sender._reset_error_code is None
            and not ranges_of(sender._acked)
        ):
            # In order, as nearly always.
            sender._buffer_start = stop
            del sender._buffer[: stop - start]
            if fin:
                sender._acked_fin = True
            if sender._acked_fin and stop == sender._buffer_fin:
                sender.is_finished = True
        else:
            sender.on_data_delivery(delivery, start, stop, fin)
            if not sender.buffer_is_empty:
                self._make_ready(number_of(stream))
        if sender.is_finished and stream.receiver.is_finished:
            self._ended.append(stream)

    def _on_reset_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        stream.sender.on_reset_delivery(delivery)
        if stream.is_finished:
            self._ended.append(stream)
        elif stream.sender.reset_pending:
            self._ready[number_of(stream)] = stream

    def _on_stop_sending_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        stream.receiver.on_stop_sending_delivery(delivery)
        if stream.receiver.stop_pending:
            self._make_ready(number_of(stream))

    def _on_max_stream_data_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        super()._on_max_stream_data_delivery(delivery, stream)
        if delivery is not _ACKED:
            self._credited[number_of(stream)] = stream

    def _on_new_connection_id_delivery(self, delivery: QuicDeliveryState, connection_id: Any) -> None:
        super()._on_new_connection_id_delivery(delivery, connection_id)
        if delivery is not _ACKED:
            self._ids_pending = True


def _has_something_to_send(stream: QuicStream) -> bool:
    sender = stream.sender
    return sender.reset_pending or stream.receiver.stop_pending or not (sender.buffer_is_empty or stream.is_blocked)


def _peek_varint(buf: Buffer) -> int:
    start = buf.tell()
    value = buf.pull_uint_var()
    buf.seek(start)
    return value
