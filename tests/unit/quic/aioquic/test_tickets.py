from __future__ import annotations

import datetime

import pytest
from aioquic.tls import CipherSuite, SessionTicket

from quicrpc.quic.aioquic.tickets import MemoryTicketStore, dump_ticket, load_ticket
from quicrpc.quic.engine import SessionTicketRecord


def record(name: bytes, *, epoch: str = "", expires_at: float = 100.0) -> SessionTicketRecord:
    return SessionTicketRecord(name, b"secret", (b"leaf",), epoch, 0.0, expires_at)


class TestMemoryTicketStore:
    def test_a_ticket_is_taken_once(self) -> None:
        store = MemoryTicketStore(wall_clock=lambda: 1.0)
        store.put(record(b"a"))
        assert store.take(b"a", epoch="") == record(b"a")
        assert store.take(b"a", epoch="") is None

    def test_another_epoch_burns_it(self) -> None:
        store = MemoryTicketStore(wall_clock=lambda: 1.0)
        store.put(record(b"a", epoch="old"))
        assert store.take(b"a", epoch="new") is None
        assert len(store) == 0

    def test_it_expires(self) -> None:
        now = [99.0]
        store = MemoryTicketStore(wall_clock=lambda: now[0])
        store.put(record(b"a"))
        store.put(record(b"b"))
        assert store.take(b"a", epoch="") is not None
        now[0] = 100.0
        assert store.take(b"b", epoch="") is None

    def test_the_oldest_is_dropped_when_full(self) -> None:
        store = MemoryTicketStore(2, wall_clock=lambda: 1.0)
        for name in (b"a", b"b", b"c"):
            store.put(record(name))
        assert store.take(b"a", epoch="") is None
        assert store.take(b"c", epoch="") is not None


def test_the_secret_is_not_shown() -> None:
    assert "secret'" not in repr(record(b"a"))


def test_tickets_survive_serialisation() -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901, datetime.UTC)
    ticket = SessionTicket(
        age_add=7,
        cipher_suite=CipherSuite.AES_128_GCM_SHA256,
        not_valid_after=moment + datetime.timedelta(days=1),
        not_valid_before=moment,
        resumption_secret=b"\x00\xff",
        server_name="localhost",
        ticket=b"id",
        max_early_data_size=0xFFFFFFFF,
        other_extensions=[(57, b"parameters")],
    )
    assert load_ticket(dump_ticket(ticket, (b"leaf", b"root"))) == (ticket, (b"leaf", b"root"))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"1", b"null", b'{"format": 0}', b'{"format": 1}', b"\xff", b'{"format": 1, "age_add": 1}']
)
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="session ticket"):
        load_ticket(data)
