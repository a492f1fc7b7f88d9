from __future__ import annotations

from quicrpc.quic.aioquic.timers import Timer, TimerQueue


def test_owners_are_called_in_order_of_time() -> None:
    queue: TimerQueue[str] = TimerQueue()
    for name, due in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        queue.schedule(Timer(name), due)
    assert queue.next_due() == 1.0
    assert list(queue.pop_due(2.5)) == ["a", "b"]
    assert queue.next_due() == 3.0


def test_a_later_time_replaces_an_earlier_one() -> None:
    queue: TimerQueue[str] = TimerQueue()
    timer = Timer("a")
    queue.schedule(timer, 1.0)
    queue.schedule(timer, 5.0)
    assert list(queue.pop_due(2.0)) == []
    assert queue.next_due() == 5.0
    assert list(queue.pop_due(5.0)) == ["a"]
    assert queue.next_due() is None


def test_an_owner_is_called_once_for_several_entries() -> None:
    queue: TimerQueue[str] = TimerQueue()
    timer = Timer("a")
    for due in (9.0, 5.0, 1.0):
        queue.schedule(timer, due)
    assert list(queue.pop_due(10.0)) == ["a"]
    assert list(queue.pop_due(20.0)) == []


def test_never_and_cancelled_are_not_called() -> None:
    queue: TimerQueue[str] = TimerQueue()
    never, cancelled = Timer("never"), Timer("cancelled")
    queue.schedule(never, 1.0)
    queue.schedule(never, None)
    queue.schedule(cancelled, 1.0)
    queue.cancel(cancelled)
    assert cancelled.owner is None
    assert list(queue.pop_due(2.0)) == []


def test_a_busy_owner_leaves_few_entries() -> None:
    """An idle timer that moves with every packet and a short timer that fires a thousand times."""
    queue: TimerQueue[str] = TimerQueue()
    timer = Timer("busy")
    for step in range(1000):
        now = step * 0.01
        queue.schedule(timer, now + 60)
        queue.schedule(timer, now + 0.001)
        assert list(queue.pop_due(now + 0.001)) == ["busy"]
        assert len(queue._heap) <= 2
