"""Loss recovery with a pacer that suits a timer resolution of a millisecond."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery

__all__ = ["Pacer", "Recovery"]

#: Below this round-trip time a timer tick is longer than the pause between packets; pacing would only slow down.
_PACING_FROM_RTT_S = 0.002
#: A burst worth four ticks of the event loop's timer: less leaves the link idle between wake-ups.
_BURST_S = 0.004
#: RFC 9002, 7.7: slightly faster than the window allows, so that the pacer never becomes the limit.
_PACING_GAIN = 1.25
_LEAST_BURST_PACKETS = 10
#: Packets built in one go for one connection; acknowledgements and other connections get their turn after that.
_PACKETS_PER_FLUSH = 128
#: More than what floating point loses when a loss time is computed from a sending time and back again.
_ROUNDING_S = 1e-6


class Pacer(QuicPacketPacer):
    """Upstream's token bucket with another rate and depth, and a bound on the work of one flush."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._flush_budget = _PACKETS_PER_FLUSH

    def begin_flush(self) -> None:
        """Give the connection a new budget of packets."""
        self._flush_budget = _PACKETS_PER_FLUSH

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]  # upstream's annotation forgets None
        """Return when the next packet may be sent, None for now. ``now`` itself: at the next flush."""
        if self._flush_budget <= 0:
            return now
        return super().next_send_time(now)

    def update_after_send(self, now: float) -> None:
        """Note one packet sent."""
        self._flush_budget -= 1
        super().update_after_send(now)

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Set the rate from the congestion window (bytes) and the round-trip time (seconds)."""
        if smoothed_rtt < _PACING_FROM_RTT_S:
            self.packet_time = None
            return
        rate = _PACING_GAIN * congestion_window / smoothed_rtt
        self.packet_time = min(self._max_datagram_size / rate, 1.0)
        self.bucket_max = max(_LEAST_BURST_PACKETS * self.packet_time, _BURST_S)
        self.bucket_time = min(self.bucket_time, self.bucket_max)


class Recovery(QuicPacketRecovery):
    """Upstream's loss recovery with :class:`Pacer` and a count of lost packets.

    Attributes:
        packets_lost: Packets declared lost by acknowledgements, not those repeated by a probe timeout.
    """

    def __init__(self, *, max_datagram_size: int, **arguments: Any) -> None:
        super().__init__(max_datagram_size=max_datagram_size, **arguments)
        self.packets_lost = 0
        self.pacer = Pacer(max_datagram_size=max_datagram_size)
        self._pacer = self.pacer

    def on_loss_detection_timeout(self, *, now: float) -> None:
        """Handle the timer. Exactly at the loss time upstream may find nothing to be lost yet, and ask for the same time again."""
        super().on_loss_detection_timeout(now=now + _ROUNDING_S)

    def _on_packets_lost(self, *, packets: Iterable[QuicSentPacket], congestion_event: bool = True, **arguments: Any) -> None:
        packets = list(packets)
        if congestion_event:
            self.packets_lost += len(packets)
        super()._on_packets_lost(packets=packets, congestion_event=congestion_event, **arguments)
