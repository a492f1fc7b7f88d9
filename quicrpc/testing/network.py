"""A network in memory on a virtual clock: seconds of loss and delay run in milliseconds, the same way for the same seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from quicrpc.quic.engine import Address, Endpoint, Event, EventKind

__all__ = ["ObservedEndpoint", "SimulatedLink", "SimulatedNetwork", "VirtualClock"]

#: Turns at one virtual instant before a simulation is declared stuck.
_MAX_TURNS_WITHOUT_TIME = 10_000


class VirtualClock:
    """Monotonic seconds that pass only when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(order=True, slots=True)
class _Flight:
    arrival: float
    sequence: int
    data: bytes = field(compare=False)
    source: Address = field(compare=False)
    destination: Address = field(compare=False)


class SimulatedLink:
    """A :class:`~quicrpc.quic.engine.DatagramLink` into a :class:`SimulatedNetwork`.

    Attributes:
        sent: Datagrams given to the network, also those it lost.
        received: Datagrams read.
    """

    def __init__(self, network: SimulatedNetwork, address: Address) -> None:
        self.sent = self.received = 0
        self.inbox: list[tuple[bytes, Address]] = []
        self.is_closed = False
        self._network = network
        self._address = address

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def local_address(self) -> Address:
        """Return the simulated address."""
        return self._address

    def receive(self) -> list[tuple[bytes, Address]]:
        """Return what has arrived."""
        datagrams, self.inbox = self.inbox, []
        self.received += len(datagrams)
        return datagrams

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """Hand datagrams to the network."""
        if not self.is_closed:
            self.sent += len(datagrams)
            for data, destination in datagrams:
                self._network.carry(data, self._address, destination)

    def close(self) -> None:
        """Take the address off the network."""
        self.is_closed = True
        self._network.detach(self)


class SimulatedNetwork:
    """Datagrams between links, with everything a network may do to them.

    The conditions are attributes and may change in the middle of a test. ``tap`` sees each datagram as
    ``(data, source, destination)`` before loss and returns what is to travel: the datagrams themselves, fewer, more or others.

    Attributes:
        clock: The virtual clock.
        delay_s: One-way delay.
        jitter_s: Added at random, up to this; datagrams may overtake each other.
        loss: Probability that a datagram is lost, 0 to 1.
        reorder: Probability that a datagram is held back for another ``delay_s``.
        duplicate: Probability that a datagram arrives twice.
        mtu: Largest datagram (UDP payload bytes) that gets through.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay_s: float = 0.01,
        jitter_s: float = 0.0,
        loss: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        mtu: int = 1472,
        clock: VirtualClock | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.delay_s, self.jitter_s, self.mtu = delay_s, jitter_s, mtu
        self.loss, self.reorder, self.duplicate = loss, reorder, duplicate
        self.tap: Callable[[bytes, Address, Address], list[bytes]] | None = None
        self._random = random.Random(seed)
        self._links: dict[Address, SimulatedLink] = {}
        self._flights: list[_Flight] = []
        self._sequence = 0
        self._endpoints: list[ObservedEndpoint] = []

    def link(self, host: str = "10.0.0.1", port: int = 0) -> SimulatedLink:
        """Attach a link; port 0 takes a free one."""
        address = (host, port or 50_000 + len(self._links) + self._sequence % 10_000)
        while port == 0 and address in self._links:
            address = (host, address[1] + 1)
        if address in self._links:
            raise OSError(f"{address} is in use")
        self._links[address] = link = SimulatedLink(self, address)
        return link

    def detach(self, link: SimulatedLink) -> None:
        """Forget a closed link; what is under way to it is lost."""
        self._links.pop(link.local_address(), None)

    def observe(self, endpoint: Endpoint, link: SimulatedLink) -> ObservedEndpoint:
        """Let ``run_until`` drive an endpoint that was built on ``link``."""
        observed = ObservedEndpoint(endpoint, link, self.clock)
        self._endpoints.append(observed)
        return observed

    def forget(self, observed: ObservedEndpoint) -> None:
        """Stop driving an endpoint, as if its process had been killed."""
        self._endpoints.remove(observed)
        observed.link.close()

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on its way."""
        for piece in [data] if self.tap is None else self.tap(data, source, destination):
            if len(piece) > self.mtu or self._random.random() < self.loss:
                continue
            copies = 2 if self._random.random() < self.duplicate else 1
            for _ in range(copies):
                delay = self.delay_s + self._random.random() * self.jitter_s
                if self._random.random() < self.reorder:
                    delay += self.delay_s
                self._sequence += 1
                heapq.heappush(self._flights, _Flight(self.clock.now + delay, self._sequence, piece, source, destination))

    def run_until(self, condition: Callable[[], object], *, limit_s: float = 60.0) -> None:
        """Let time pass until ``condition()`` is true.

        Raises:
            AssertionError: It was not true within ``limit_s`` virtual seconds, or nothing more can happen.
        """
        end = self.clock.now + limit_s
        turns, instant = 0, self.clock.now
        while True:
            self._deliver()
            due = [observed.turn() for observed in self._endpoints]
            if condition():
                return
            times = [time for time in due if time is not None]
            if self._flights:
                times.append(self._flights[0].arrival)
            assert times, "nothing more can happen"
            self.clock.now = max(self.clock.now, min(times))
            assert self.clock.now <= end, f"not within {limit_s} virtual seconds"
            turns = turns + 1 if self.clock.now == instant else 0
            instant = self.clock.now
            assert turns < _MAX_TURNS_WITHOUT_TIME, "endless work at one instant"

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        end = self.clock.now + seconds
        while True:
            self._deliver()
            times = [time for time in (observed.turn() for observed in self._endpoints) if time is not None]
            if self._flights:
                times.append(self._flights[0].arrival)
            upcoming = min(times, default=end)
            if upcoming > end:
                break
            if upcoming >= end and self.clock.now >= end:
                break
            self.clock.now = max(self.clock.now, upcoming)
        self.clock.now = end

    def _deliver(self) -> None:
        while self._flights and self._flights[0].arrival <= self.clock.now:
            flight = heapq.heappop(self._flights)
            link = self._links.get(flight.destination)
            if link is not None:
                link.inbox.append((flight.data, flight.source))


class ObservedEndpoint:
    """An endpoint with a record of what it told.

    Attributes:
        endpoint: The endpoint; commands go straight to it.
        link: Its link.
        events: Every event so far.
        received: Bytes by ``(connection, stream)``.
        finished: Streams whose FIN has come.
        handler: Called with each event after it is recorded.
    """

    def __init__(self, endpoint: Endpoint, link: SimulatedLink, clock: VirtualClock) -> None:
        self.endpoint = endpoint
        self.link = link
        self.events: list[Event] = []
        self.received: dict[tuple[int, int], bytearray] = {}
        self.finished: set[tuple[int, int]] = set()
        self.handler: Callable[[Event], None] | None = None
        self._clock = clock

    def turn(self) -> float | None:
        """Poll, record, handle, flush, as a driver does at one wake-up; return the next timer."""
        now = self._clock.now
        for event in self.endpoint.poll(now, bool(self.link.inbox)):
            self.events.append(event)
            if event[0] is EventKind.DATA:
                _, conn, stream, data, fin, _ = event
                self.received.setdefault((conn, stream), bytearray()).extend(data)
                if fin:
                    self.finished.add((conn, stream))
            if self.handler is not None:
                self.handler(event)
        return self.endpoint.flush(now)

    def of(self, kind: EventKind) -> list[Event]:
        """Return the events of one kind so far."""
        return [event for event in self.events if event[0] is kind]
