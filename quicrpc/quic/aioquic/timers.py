"""Which connection is due next, without looking at all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Timer", "TimerQueue"]

Owner = TypeVar("Owner")


class Timer(Generic[Owner]):
    """One due time that moves often, mostly to later.

    Attributes:
        owner: Who wants to be called; None once cancelled, so that an entry left in the heap keeps nothing alive.
        due: When; None for never.
    """

    __slots__ = ("_entries", "due", "owner")

    def __init__(self, owner: Owner) -> None:
        self.owner: Owner | None = owner
        self.due: float | None = None
        self._entries: list[float] = []  # in the heap, latest first


class TimerQueue(Generic[Owner]):
    """A heap whose entries are never moved.

    A timer gets a new entry only when it becomes due *earlier* than its earliest one. An entry that comes up before its timer is
    due is put back for the later time, so a connection that is busy for an hour costs a handful of entries, not one a packet.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer[Owner]]] = []
        self._count = 0

    def schedule(self, timer: Timer[Owner], due: float | None) -> None:
        """Set when ``timer`` is due; replaces the time before."""
        timer.due = due
        if due is not None and (not timer._entries or due < timer._entries[-1]):
            self._push(timer, due)

    def cancel(self, timer: Timer[Owner]) -> None:
        """Never call this timer's owner again."""
        timer.owner = timer.due = None

    def pop_due(self, now: float) -> Iterator[Owner]:
        """Yield each owner that is due at ``now``, once; it is to be scheduled again."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            timer._entries.pop()
            due = timer.due
            if due is None or timer.owner is None:
                continue
            if due <= now:
                timer.due = None
                yield timer.owner
            elif not timer._entries or due < timer._entries[-1]:
                self._push(timer, due)

    def next_due(self) -> float | None:
        """Return a time not after the earliest due time; None when nothing is due ever."""
        return self._heap[0][0] if self._heap else None

    def _push(self, timer: Timer[Owner], due: float) -> None:
        timer._entries.append(due)
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, timer))
