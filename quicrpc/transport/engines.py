"""Chooses the QUIC engine. Everything above asks here and sees only the ``Endpoint`` Protocol."""

from __future__ import annotations

from quicrpc.quic.aioquic.endpoint import AioquicEndpoint
from quicrpc.quic.aioquic.tickets import MemoryTicketStore
from quicrpc.quic.engine import DatagramLink, Endpoint, EndpointOptions, TicketStore

__all__ = ["create_endpoint", "create_ticket_store"]


def create_endpoint(link: DatagramLink, options: EndpointOptions) -> Endpoint:
    """Create an endpoint on ``link``, which it owns from here on.

    Raises:
        ValueError: certificates or keys that cannot be read, in one sentence.
    """
    return AioquicEndpoint(link, options)


def create_ticket_store() -> TicketStore:
    """Create a store of single-use session tickets for the endpoints of one server in one process."""
    return MemoryTicketStore()
