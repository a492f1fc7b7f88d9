"""Endpoints on real UDP sockets."""

from __future__ import annotations

import json
import logging
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from quicrpc.quic.aioquic import AioquicEndpoint, MemoryTicketStore
from quicrpc.quic.engine import EndpointOptions, Event, EventKind
from quicrpc.quic.udp import UdpLink
from quicrpc.testing.certificates import CertificateAuthority

AUTHORITY = CertificateAuthority()
SERVER = EndpointOptions(is_client=False, certificates=[AUTHORITY.issue()], ticket_store=MemoryTicketStore())
CLIENT = EndpointOptions(is_client=True, root_certificates=AUTHORITY.certificate_pem)

has_ipv6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()


class Loop:
    """The least that can drive endpoints: one select for all of them."""

    def __init__(self) -> None:
        self.events: dict[AioquicEndpoint, list[Event]] = {}
        self.handlers: dict[AioquicEndpoint, Callable[[Event], object]] = {}

    def add(
        self, link: UdpLink, options: EndpointOptions, handler: Callable[[Event], None] = lambda event: None
    ) -> AioquicEndpoint:
        endpoint = AioquicEndpoint(link, options)
        self.events[endpoint], self.handlers[endpoint] = [], handler
        return endpoint

    def run_until(self, condition: Callable[[], object], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        ready: set[int] = set()
        while not condition():
            due = end
            for endpoint, events in self.events.items():
                now = time.monotonic()
                for event in endpoint.poll(now, endpoint.fileno() in ready):
                    events.append(event)
                    self.handlers[endpoint](event)
                timer = endpoint.flush(time.monotonic())
                due = due if timer is None else min(due, timer)
            assert time.monotonic() < end, "too slow"
            descriptors = [endpoint.fileno() for endpoint in self.events]
            ready = set(select.select(descriptors, [], [], max(0.0, due - time.monotonic()))[0])

    def shut_down(self) -> None:
        for endpoint in self.events:
            endpoint.shutdown(time.monotonic())


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.shut_down()


def echo(endpoint: Callable[[], AioquicEndpoint]) -> Callable[[Event], None]:
    def handle(event: Event) -> None:
        if event[0] is EventKind.DATA:
            endpoint().send(event[1], event[2], event[3], event[4])

    return handle


@pytest.mark.parametrize(
    ("bind", "client", "target", "name"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1", "localhost"),
        pytest.param("::1", "::1", "::1", "::1", marks=pytest.mark.skipif(not has_ipv6, reason="no IPv6")),
        pytest.param("::", "127.0.0.1", "127.0.0.1", "localhost", marks=pytest.mark.skipif(not has_ipv6, reason="no IPv6")),
        pytest.param("127.0.0.1", "::", "127.0.0.1", "localhost", marks=pytest.mark.skipif(not has_ipv6, reason="no IPv6")),
        pytest.param("::", "::", "::1", "::1", marks=pytest.mark.skipif(not has_ipv6, reason="no IPv6")),
    ],
)
def test_calls_work_over_every_family(loop: Loop, bind: str, client: str, target: str, name: str) -> None:
    server = loop.add(UdpLink.bind(bind, 0), SERVER, echo(lambda: server))
    endpoint = loop.add(UdpLink.bind(client, 0), CLIENT)
    conn = endpoint.connect((target, server._link.local_address()[1]), name)
    loop.run_until(lambda: (EventKind.HANDSHAKE_DONE, conn) in loop.events[endpoint])
    stream = endpoint.open(conn, True)
    assert stream is not None
    endpoint.send(conn, stream, b"ping", True)
    loop.run_until(lambda: (EventKind.DATA, conn, stream, b"ping", True, False) in loop.events[endpoint])


@pytest.mark.parametrize("size", [1200, 1452])
def test_megabytes_pass_both_ways(loop: Loop, size: int) -> None:
    total = 8 * 1024 * 1024
    server = loop.add(UdpLink.bind("127.0.0.1", 0), replace(SERVER, max_datagram_bytes=size), echo(lambda: server))
    received, left = 0, total
    chunk = bytes(range(256)) * 256

    def handle(event: Event) -> None:
        nonlocal received, left
        if event[0] is EventKind.DATA:
            received += len(event[3])
        elif event[0] in (EventKind.WRITABLE, EventKind.HANDSHAKE_DONE):
            stream = client.open(conn, True) if event[0] is EventKind.HANDSHAKE_DONE else event[2]
            assert stream is not None
            while left:
                left -= len(chunk)
                if not client.send(conn, stream, chunk, not left):
                    break

    client = loop.add(UdpLink.bind("127.0.0.1", 0), replace(CLIENT, max_datagram_bytes=size), handle)
    conn = client.connect(server._link.local_address(), "localhost")
    loop.run_until(lambda: received == total)
    assert client.info(conn).bytes_sent > total


def test_nobody_listens(loop: Loop) -> None:
    """An ICMP error is no news: the handshake simply does not happen in time."""
    closed = UdpLink.bind("127.0.0.1", 0)
    closed.close()
    client = loop.add(UdpLink.bind("127.0.0.1", 0), replace(CLIENT, handshake_timeout_s=0.3))
    conn = client.connect(closed.local_address(), "localhost")
    loop.run_until(lambda: loop.events[client])
    assert loop.events[client] == [(EventKind.CLOSED, conn, 0, "handshake timeout", False, False)]


def test_garbage_from_the_network_is_not_logged_above_debug(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = loop.add(UdpLink.bind("127.0.0.1", 0), SERVER)
    client = loop.add(UdpLink.bind("127.0.0.1", 0), CLIENT)
    conn = client.connect(server._link.local_address(), "localhost")
    loop.run_until(lambda: (EventKind.HANDSHAKE_DONE, conn) in loop.events[client])
    client._link.send([(bytes([first]) + bytes(1300), server._link.local_address()) for first in range(256)])
    client.close(conn, 1, "line one\nFORGED \x1b[31m")
    loop.run_until(lambda: [event for event in loop.events[server] if event[0] is EventKind.CLOSED])
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert not any("\n" in record.getMessage() or "\x1b" in record.getMessage() for record in caplog.records)
    assert any("FORGED" in record.getMessage() for record in caplog.records)


def test_secrets_and_qlog_are_written(loop: Loop, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    options = replace(SERVER, secrets_log_file=str(secrets), qlog_dir=str(tmp_path))
    server = loop.add(UdpLink.bind("127.0.0.1", 0), options)
    client = loop.add(UdpLink.bind("127.0.0.1", 0), CLIENT)
    conn = client.connect(server._link.local_address(), "localhost")
    loop.run_until(lambda: (EventKind.HANDSHAKE_DONE, 1) in loop.events[server])
    name = server.info(1).original_connection_id
    client.close(conn, 0x100, "")
    loop.run_until(lambda: loop.events[server][-1][0] is EventKind.CLOSED)
    assert "SERVER_TRAFFIC_SECRET_0" in secrets.read_text()
    assert json.loads((tmp_path / f"{name}_server.qlog").read_text())["traces"]
