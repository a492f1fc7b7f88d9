"""Links that call instead of having a descriptor: datagrams in memory, for an endpoint on an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from quicrpc.quic.engine import Address, DatagramLink

__all__ = ["BindLink", "NotifyingLink"]

#: Makes the link for a connection to an address, as binding a socket would.
BindLink = Callable[[Address], DatagramLink]


@runtime_checkable
class NotifyingLink(DatagramLink, Protocol):
    """A link without a descriptor (``fileno()`` is -1)."""

    def notify(self, readable: Callable[[], None]) -> None:
        """From now on have ``readable()`` called from the event loop whenever datagrams wait; soon if some do already."""
