"""Session tickets a client holds, by server: each is used once."""

from __future__ import annotations

from collections import OrderedDict, deque

__all__ = ["TicketCache"]


class TicketCache:
    """Keeps the newest tickets of each server in memory.

    Args:
        max_servers: Servers remembered; the least recently used is dropped.
        max_tickets: Tickets kept for each.
    """

    def __init__(self, max_servers: int = 256, max_tickets: int = 4) -> None:
        self._max_servers = max_servers
        self._max_tickets = max_tickets
        self._tickets: OrderedDict[str, deque[bytes]] = OrderedDict()

    def put(self, server: str, ticket: bytes) -> None:
        """Keep a ticket. ``server`` names the authenticated peer *and* the client's own identity."""
        tickets = self._tickets.setdefault(server, deque(maxlen=self._max_tickets))
        tickets.append(ticket)
        self._tickets.move_to_end(server)
        while len(self._tickets) > self._max_servers:
            self._tickets.popitem(last=False)

    def take(self, server: str) -> bytes | None:
        """Remove and return the newest ticket (RFC 8446, C.4: never the same one twice), or None."""
        tickets = self._tickets.get(server)
        return tickets.pop() if tickets else None
