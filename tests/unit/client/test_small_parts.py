"""Options, tickets, the memory of broken UDP."""

from __future__ import annotations

import pytest

from quicrpc.client.connector import BrokenQuic
from quicrpc.client.options import parse_channel_options
from quicrpc.client.tickets import TicketCache
from quicrpc.server.options import parse_server_options


def test_grpc_names_are_understood_and_unknown_ones_left_alone() -> None:
    options = parse_channel_options(
        [("grpc.max_receive_message_length", -1), ("grpc.default_authority", b"a"), ("grpc.something_else", object())]
    )
    assert options.max_receive_message_bytes is None
    assert options.authority == "a"
    assert parse_channel_options(()).max_receive_message_bytes == 4 * 1024 * 1024
    server = parse_server_options([("grpc.max_concurrent_streams", 7), ("quicrpc.idle_timeout_ms", 1500)])
    assert (server.max_concurrent_streams, server.idle_timeout_s) == (7, 1.5)


@pytest.mark.parametrize(
    "option",
    [("grpc.max_receive_message_length", "big"), ("grpc.max_send_message_length", -2), ("quicrpc.max_datagram_bytes", 600)],
)
def test_a_bad_value_names_its_option(option: tuple[str, object]) -> None:
    for parse in (parse_channel_options, parse_server_options):
        with pytest.raises(ValueError, match=option[0]):
            parse([option])


def test_a_ticket_is_taken_once() -> None:
    cache = TicketCache(max_servers=2, max_tickets=2)
    for ticket in (b"1", b"2", b"3"):
        cache.put("a", ticket)
    assert [cache.take("a"), cache.take("a"), cache.take("a")] == [b"3", b"2", None]
    cache.put("b", b"b")
    cache.put("c", b"c")
    cache.put("d", b"d")
    assert [cache.take("b"), cache.take("c"), cache.take("d")] == [None, b"c", b"d"]


def test_broken_udp_is_believed_for_a_while() -> None:
    broken = BrokenQuic(max_peers=2)
    broken.remember("a", until=10)
    assert broken.is_broken("a", now=9.9)
    assert not broken.is_broken("a", now=10)
    broken.remember("b", until=20)
    broken.remember("c", until=20)
    assert not broken.is_broken("a", now=0)
    broken.forget("b")
    assert not broken.is_broken("b", now=0)
