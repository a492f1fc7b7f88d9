"""Session tickets: a store in memory, and aioquic's tickets as bytes."""

from __future__ import annotations

import datetime
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from aioquic.tls import CipherSuite, SessionTicket

from quicrpc.quic.engine import SessionTicketRecord

__all__ = ["MemoryTicketStore", "dump_ticket", "load_ticket", "make_valid_now"]

_FORMAT = 1
_DAY = datetime.timedelta(days=1)


class MemoryTicketStore:
    """A :class:`~quicrpc.quic.engine.TicketStore` of one process."""

    def __init__(self, capacity: int = 10_000, wall_clock: Callable[[], float] = time.time) -> None:
        """Keep at most ``capacity`` tickets."""
        self._capacity = capacity
        self._wall_clock = wall_clock
        self._records: OrderedDict[bytes, SessionTicketRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, record: SessionTicketRecord) -> None:
        """Store a ticket, dropping the oldest when full."""
        self._records[record.ticket] = record
        if len(self._records) > self._capacity:
            self._records.popitem(last=False)

    def take(self, ticket: bytes, *, epoch: str) -> SessionTicketRecord | None:
        """Remove and return a ticket; None if unknown, used, expired or of another epoch."""
        record = self._records.pop(ticket, None)
        if record is None or record.epoch != epoch or record.expires_at <= self._wall_clock():
            return None
        return record


def dump_ticket(ticket: SessionTicket, peer_chain: Sequence[bytes] = ()) -> bytes:
    """Serialise a ticket of either role. It contains the resumption secret.

    Args:
        peer_chain: The certificates (DER) that were verified when it was issued.
    """
    return json.dumps(
        {
            "format": _FORMAT,
            "age_add": ticket.age_add,
            "cipher_suite": int(ticket.cipher_suite),
            "not_before": ticket.not_valid_before.timestamp(),
            "not_after": ticket.not_valid_after.timestamp(),
            "secret": ticket.resumption_secret.hex(),
            "server_name": ticket.server_name,
            "ticket": ticket.ticket.hex(),
            "max_early_data": ticket.max_early_data_size,
            "extensions": [[kind, bytes(value).hex()] for kind, value in ticket.other_extensions],
            "peer_chain": [certificate.hex() for certificate in peer_chain],
        }
    ).encode()


def load_ticket(data: bytes) -> tuple[SessionTicket, tuple[bytes, ...]]:
    """Read what :func:`dump_ticket` wrote: the ticket and the chain.

    Raises:
        ValueError: It is something else, or of another version.
    """
    try:
        fields = json.loads(data)
        if fields["format"] != _FORMAT:
            raise ValueError("unknown format")
        chain = tuple(bytes.fromhex(certificate) for certificate in fields["peer_chain"])
        ticket = SessionTicket(
            age_add=fields["age_add"],
            cipher_suite=CipherSuite(fields["cipher_suite"]),
            not_valid_before=datetime.datetime.fromtimestamp(fields["not_before"], datetime.UTC),
            not_valid_after=datetime.datetime.fromtimestamp(fields["not_after"], datetime.UTC),
            resumption_secret=bytes.fromhex(fields["secret"]),
            server_name=fields["server_name"],
            ticket=bytes.fromhex(fields["ticket"]),
            max_early_data_size=fields["max_early_data"],
            other_extensions=[(kind, bytes.fromhex(value)) for kind, value in fields["extensions"]],
        )
        return ticket, chain
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a session ticket") from error


def make_valid_now(ticket: SessionTicket) -> SessionTicket:
    """Move the validity around the present: the store has judged the age, by a clock of its own."""
    now = datetime.datetime.now(datetime.UTC)
    ticket.not_valid_before, ticket.not_valid_after = now - _DAY, now + _DAY
    return ticket
