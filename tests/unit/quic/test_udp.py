"""The link's own arithmetic; its socket is on loopback, everything is already there when it is read."""

from __future__ import annotations

import errno
import socket

import pytest

from quicrpc.quic.engine import Address
from quicrpc.quic.udp import UdpLink, _segments_end


@pytest.mark.parametrize(
    ("sizes", "end"),
    [
        ([100], 1),
        ([100, 100, 100], 3),
        ([100, 100, 50, 100], 3),
        ([100, 120], 1),
        ([1200] * 100, 54),
        ([10] * 100, 64),
    ],
)
def test_segments(sizes: list[int], end: int) -> None:
    assert _segments_end([(bytes(size), ("192.0.2.1", 1)) for size in sizes], 0) == end


def test_segments_share_an_address() -> None:
    one, two = ("192.0.2.1", 1), ("192.0.2.1", 2)
    assert _segments_end([(b"a", one), (b"b", one), (b"c", two)], 0) == 2


class RefusingSocket(socket.socket):
    """A socket whose sends fail."""

    error: int = 0
    calls: int = 0

    def sendto(self, *_arguments: object) -> int:
        self.calls += 1
        raise OSError(self.error, "refused")

    def sendmsg(self, *_arguments: object) -> int:
        self.calls += 1
        raise OSError(self.error, "refused")


@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EMSGSIZE, errno.EPERM, errno.ENOBUFS, errno.ECONNREFUSED])
def test_errors_drop_datagrams(error: int) -> None:
    sock = RefusingSocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.error = error
    link = UdpLink(sock)
    link.send([(b"a", ("127.0.0.1", 9)), (b"bb", ("127.0.0.1", 9))])
    assert sock.calls == 2
    link.close()


def test_a_full_buffer_drops_the_rest() -> None:
    sock = RefusingSocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.error = errno.EAGAIN
    link = UdpLink(sock)
    link.send([(b"a", ("127.0.0.1", 9)), (b"bb", ("127.0.0.1", 9))])
    assert sock.calls == 1
    link.close()


def test_segmentation_that_fails_is_given_up() -> None:
    sock = RefusingSocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.error = errno.EIO
    link = UdpLink(sock)
    link.has_gso = True
    link.send([(b"a", ("127.0.0.1", 9))] * 3)
    assert not link.has_gso
    assert sock.calls == 4
    link.close()


def _exchange(sender: UdpLink, receiver: UdpLink, datagrams: list[bytes]) -> list[bytes]:
    sender.send([(data, receiver.local_address()) for data in datagrams])
    got: list[tuple[bytes, Address]] = []
    while batch := receiver.receive():
        got += batch
    assert all(address == sender.local_address() for _, address in got)
    return [data for data, _ in got]


@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize("gro", [True, False])
def test_datagrams_keep_their_borders(gso: bool, gro: bool) -> None:
    sender, receiver = UdpLink.bind("127.0.0.1", 0), UdpLink.bind("127.0.0.1", 0)
    sender.has_gso = sender.has_gso and gso
    if not gro and receiver.has_gro:
        receiver._socket.setsockopt(17, 104, 0)
        receiver.has_gro = False
    datagrams = [bytes([index]) * (1200 if index % 10 else 700) for index in range(90)]
    assert _exchange(sender, receiver, datagrams) == datagrams
    sender.close()
    receiver.close()


def test_one_receive_is_bounded() -> None:
    sender, receiver = UdpLink.bind("127.0.0.1", 0), UdpLink.bind("127.0.0.1", 0)
    sender.has_gso = False
    sender.send([(bytes([index]) * (1 + index % 7), receiver.local_address()) for index in range(200)])
    assert len(receiver.receive()) <= 128
    sender.close()
    receiver.close()


def test_a_closed_link_is_quiet() -> None:
    link = UdpLink.bind("127.0.0.1", 0)
    address = link.local_address()
    link.close()
    link.close()
    link.send([(b"late", address)])
    assert link.receive() == []
    assert link.fileno() == -1
    assert link.local_address() == address


def test_an_address_in_use_is_an_error() -> None:
    link = UdpLink.bind("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        UdpLink.bind("127.0.0.1", link.local_address()[1])
    link.close()


def test_ports_can_be_shared_on_request() -> None:
    first = UdpLink.bind("127.0.0.1", 0, reuse_port=True)
    UdpLink.bind("127.0.0.1", first.local_address()[1], reuse_port=True).close()
    first.close()
