"""Datagrams over a UDP socket, several a system call where the kernel can (Linux: GSO on sending, GRO on receiving)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence

from quicrpc.quic.engine import Address

__all__ = ["UdpLink"]

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
#: One ``receive`` stops after this many datagrams so that timers and other descriptors get their turn.
_RECEIVE_LIMIT = 64
#: The kernel's bounds for one segmented send: UDP_MAX_SEGMENTS and the IP length field.
_MAX_SEGMENTS = 64
_MAX_SEGMENTED_BYTES = 65_000
_SEGMENT_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")
#: Room for the one control message asked for (UDP_GRO, an int).
_CONTROL_BYTES = socket.CMSG_SPACE(_GRO_SIZE.size)
#: What a kernel or network card without segmentation answers to a segmented send.
_NO_SEGMENTATION = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class UdpLink:
    """A :class:`~quicrpc.quic.engine.DatagramLink` over one unconnected, non-blocking UDP socket.

    The socket is never connected: a peer may migrate, and ICMP errors, which anyone can forge, must not end a connection.

    Attributes:
        has_gso: Sends of equal datagrams to one address are handed to the kernel in one piece.
        has_gro: The kernel hands over several datagrams of one sender in one piece.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over a bound UDP socket, such as one passed from a parent process."""
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            _try_option(sock, socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        # QUIC datagrams are never fragmented (RFC 9000, 14): too large ones are to fail, not to be cut.
        if sock.family == socket.AF_INET6:
            _try_option(sock, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        _try_option(sock, socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        self.has_gro = _try_option(sock, _SOL_UDP, _UDP_GRO, 1)
        self.has_gso = _has_option(sock, _SOL_UDP, _UDP_SEGMENT)
        self._socket = sock
        self._address: Address = sock.getsockname()
        self._buffer = bytearray(65_536)
        self._view = memoryview(self._buffer)

    @classmethod
    def bind(cls, host: str, port: int, *, reuse_port: bool = False) -> UdpLink:
        """Bind a new socket.

        Args:
            host: An address; ``"::"`` takes IPv4 too where the system allows it (peers then appear as ``::ffff:a.b.c.d``).
            port: 0 for any free port.
            reuse_port: Share the port with other processes (SO_REUSEPORT).

        Raises:
            OSError: The address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if host == "::":
                _try_option(sock, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((host, port))
            return cls(sock)
        except OSError:
            sock.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once closed."""
        return self._socket.fileno()

    def local_address(self) -> Address:
        """Return the bound address, also after ``close``."""
        return self._address

    def receive(self) -> list[tuple[bytes, Address]]:
        """Return up to about 64 waiting datagrams with their senders."""
        datagrams: list[tuple[bytes, Address]] = []
        receive = self._socket.recvmsg_into if self.has_gro else self._receive_one
        buffer, view = [self._buffer], self._view
        for _ in range(_RECEIVE_LIMIT):
            try:
                size, control, _flags, address = receive(buffer, _CONTROL_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # a queued ICMP error, or closed: reading it has cleared it
            if not control:
                datagrams.append((bytes(view[:size]), address))
            else:
                step = _GRO_SIZE.unpack(control[0][2])[0]
                datagrams += [(bytes(view[at : min(at + step, size)]), address) for at in range(0, size, step)]
            if len(datagrams) >= _RECEIVE_LIMIT:
                break
        return datagrams

    def _receive_one(self, buffers: list[bytearray], _control_bytes: int) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        size, address = self._socket.recvfrom_into(buffers[0])
        return size, [], 0, address

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """Send in order. What the kernel or the route refuses is dropped, as the network might have done."""
        count = len(datagrams)
        start = 0
        while start < count:
            data, address = datagrams[start]
            stop = start + 1
            if self.has_gso and stop < count:
                stop = _segments_end(datagrams, start)
            try:
                if stop - start == 1:
                    self._socket.sendto(data, address)
                else:
                    control = [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(len(data)))]
                    self._socket.sendmsg([part for part, _ in datagrams[start:stop]], control, 0, address)
            except BlockingIOError:
                return  # the send buffer is full: the rest would be lost all the same
            except OSError as error:
                if stop - start > 1 and error.errno in _NO_SEGMENTATION:
                    self.has_gso = False
                    continue
            start = stop

    def close(self) -> None:
        """Close the socket. Later calls do nothing."""
        self._socket.close()


def _segments_end(datagrams: Sequence[tuple[bytes, Address]], start: int) -> int:
    """Return where the run ends that one segmented send can take: same address, same size, only the last one shorter."""
    first, address = datagrams[start]
    size = total = len(first)
    limit = min(len(datagrams), start + _MAX_SEGMENTS)
    stop = start + 1
    while stop < limit:
        data, other = datagrams[stop]
        total += len(data)
        if len(data) > size or total > _MAX_SEGMENTED_BYTES or other != address:
            break
        stop += 1
        if len(data) < size:
            break
    return stop


def _try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _has_option(sock: socket.socket, level: int, option: int) -> bool:
    try:
        sock.getsockopt(level, option)
    except OSError:
        return False
    return True
