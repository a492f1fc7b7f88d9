"""Variable-length integers and ACK frames as bytes (RFC 9000, 16 and 19.3)."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from aioquic.quic.rangeset import RangeSet

__all__ = ["AckedRanges", "encode_varint", "ranges_of", "read_ack_ranges", "read_varint", "write_ack"]

#: The list inside a ``RangeSet``: asking the set itself costs a call for every look.
ranges_of: Callable[[RangeSet], list[range]] = attrgetter("_RangeSet__ranges")


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and where it ends.

    Raises:
        IndexError: ``data`` ends before its first byte. One cut in the middle ends beyond ``data``: the caller compares.
    """
    first = data[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | data[at + 1], at + 2
    if first < 0xC0:
        return int.from_bytes(data[at : at + 4], "big") & 0x3FFF_FFFF, at + 4
    return int.from_bytes(data[at : at + 8], "big") & 0x3FFF_FFFF_FFFF_FFFF, at + 8


def encode_varint(value: int) -> bytes:
    """Encode with the fewest bytes. ``value``: below 2**62."""
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")


class AckedRanges(list[range]):
    """Acknowledged packet numbers, ascending, with the part of ``RangeSet`` that loss recovery uses."""

    __slots__ = ()

    def bounds(self) -> range:
        """Return the range from the first to the last number."""
        return range(self[0].start, self[-1].stop)


def read_ack_ranges(data: bytes, at: int, largest: int, count: int) -> tuple[AckedRanges, int] | None:
    """Read the First ACK Range and ``count`` more.

    Returns:
        The ranges and where they end; None when one is negative or the frame is cut.

    Raises:
        IndexError: The frame is cut.
    """
    length, at = read_varint(data, at)
    low = largest - length
    if low < 0:
        return None
    ranges = AckedRanges((range(low, largest + 1),))
    for _ in range(count):
        gap, at = read_varint(data, at)
        length, at = read_varint(data, at)
        high = low - gap - 2
        low = high - length
        if low < 0:
            return None
        ranges.append(range(low, high + 1))
    if at > len(data):
        return None
    ranges.reverse()
    return ranges, at


def write_ack(ranges: list[range], encoded_delay: int) -> bytes:
    """Encode an ACK frame of all ``ranges``, ascending; at most 64 of them, so that it fits the smallest packet."""
    last = ranges[-1]
    smallest = last.start
    frame = b"\x02" + encode_varint(last.stop - 1) + encode_varint(encoded_delay) + encode_varint(len(ranges) - 1)
    frame += encode_varint(last.stop - 1 - smallest)
    for index in range(len(ranges) - 2, -1, -1):
        acked = ranges[index]
        frame += encode_varint(smallest - acked.stop - 1) + encode_varint(acked.stop - acked.start - 1)
        smallest = acked.start
    return frame
