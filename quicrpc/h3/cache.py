"""A cache bounded in entries and bytes whose hits cost one dictionary look-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Least recently used, by two generations.

    When the recent generation is full it becomes the older one, and the older one is dropped; a hit in the older generation
    moves back to the recent one. So whatever was used within the last half of the bounds stays, and a hit in the recent generation
    needs no bookkeeping.

    Args:
        cost: Bytes an entry is taken to occupy.
        max_entries: Entries of both generations together.
        max_bytes: Sum of costs of both generations together. What costs more than half of it is not kept.
    """

    __slots__ = ("_cost", "_half_bytes", "_half_entries", "_older", "_recent", "_recent_bytes")

    def __init__(self, cost: Callable[[K, V], int], *, max_entries: int, max_bytes: int) -> None:
        self._cost = cost
        self._half_entries = max_entries // 2
        self._half_bytes = max_bytes // 2
        self._recent: dict[K, V] = {}
        self._recent_bytes = 0
        self._older: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def get(self, key: K) -> V | None:
        """Return the value kept for ``key``, or None."""
        value = self._recent.get(key)
        if value is None:
            value = self._older.pop(key, None)
            if value is not None:
                self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Keep a value for a key that ``get`` has just not found."""
        cost = self._cost(key, value)
        if cost > self._half_bytes:
            return
        if len(self._recent) >= self._half_entries or self._recent_bytes + cost > self._half_bytes:
            self._older, self._recent, self._recent_bytes = self._recent, {}, 0
        self._recent[key] = value
        self._recent_bytes += cost
