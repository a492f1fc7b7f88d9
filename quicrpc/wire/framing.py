"""Length-Prefixed-Message: one byte of compressed flag, four of length, the message (gRPC PROTOCOL-HTTP2, Requests)."""

from __future__ import annotations

from struct import Struct

import grpc

from quicrpc.wire.errors import RemoteProtocolError

__all__ = ["MessageReader", "frame_message"]

_PREFIX = Struct(">BI")
_PREFIX_BYTES = _PREFIX.size
_ANY_LENGTH = 2**32
_PIECES_PER_BLOCK = 256

_pack_prefix = _PREFIX.pack
_unpack_prefix = _PREFIX.unpack_from


def frame_message(payload: bytes, compressed: bool = False) -> bytes:
    """Put the five byte prefix before a message.

    Args:
        payload: The message as it goes out, so after compression; under 4 GiB.
        compressed: Whether ``payload`` was compressed with the call's ``grpc-encoding``.
    Source: gRPC PROTOCOL-HTTP2, Length-Prefixed-Message.
    """
    return _pack_prefix(compressed, len(payload)) + payload


class MessageReader:
    """Cuts one direction of a stream into messages, however the bytes arrive (DATA frames bear no relation to messages).

    At most one message is buffered, and only after its declared length met the limit. What is returned does not depend on how
    the bytes were cut: messages in front of a violation are returned, the violation is raised by the next call. After an
    error the stream is lost, and every further call raises the error again.

    Args:
        max_message_bytes: Largest length that a prefix may declare (before decompression); None for no limit but 4 GiB.
    """

    __slots__ = ("_blocks", "_compressed", "_error", "_is_between_messages", "_length", "_limit", "_missing", "_pieces", "_prefix")

    def __init__(self, max_message_bytes: int | None) -> None:
        self._limit = _ANY_LENGTH if max_message_bytes is None else max_message_bytes
        self._is_between_messages = True
        self._prefix = b""
        # Of the message whose prefix is complete; nothing is missing if there is none.
        self._compressed = False
        self._length = 0
        self._missing = 0
        # A growing bytearray would be moved again and again. Pieces are joined to blocks so that a peer that sends a byte at a
        # time cannot make us keep an object for each of them.
        self._pieces: list[bytes] = []
        self._blocks: list[bytes] = []
        self._error: RemoteProtocolError | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of a message that is not complete."""
        return len(self._prefix) + (self._length - self._missing if self._missing else 0)

    def receive_data(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Take the next bytes of the stream.

        Returns: The messages that are complete now, each as (compressed flag, payload).
        Raises: RemoteProtocolError: RESOURCE_EXHAUSTED for a length over the limit, INTERNAL for a flag that is not 0 or 1.
        Source: gRPC PROTOCOL-HTTP2, Length-Prefixed-Message.
        """
        size = len(data)
        if self._is_between_messages and size >= _PREFIX_BYTES:
            flag, length = _unpack_prefix(data)
            if size == length + _PREFIX_BYTES and flag <= 1 and length <= self._limit:
                return [(flag == 1, data[_PREFIX_BYTES:])]
        elif size < self._missing:
            self._keep(data)
            return []
        if self._error is not None:
            raise self._error
        messages: list[tuple[bool, bytes]] = []
        try:
            self._cut(data, size, messages)
        except RemoteProtocolError as error:
            self._error = error
            self._is_between_messages = False
            if not messages:
                raise
        return messages

    def receive_end(self) -> None:
        """Take the end of the stream.

        Raises: RemoteProtocolError: INTERNAL if the stream ended inside a message; or the violation not yet reported.
        """
        if self._is_between_messages:
            return
        if self._error is None:
            self._error = RemoteProtocolError(grpc.StatusCode.INTERNAL, "the stream ended inside a message")
        raise self._error

    def _cut(self, data: bytes, size: int, messages: list[tuple[bool, bytes]]) -> None:
        position = 0 if self._is_between_messages else self._continue_message(data, size, messages)
        while size - position >= _PREFIX_BYTES:
            compressed, length = self._check_prefix(data, position)
            start = position + _PREFIX_BYTES
            position = start + length
            if position > size:
                self._begin_message(compressed, length)
                self._keep(data[start:])
                return
            messages.append((compressed, data[start:position]))
        if position < size:
            self._prefix = data[position:]
            self._is_between_messages = False

    def _continue_message(self, data: bytes, size: int, messages: list[tuple[bool, bytes]]) -> int:
        """Go on with the message that has begun, as far as ``data`` goes; returns how many of its bytes were used."""
        position = 0
        if not self._missing:
            position = min(size, _PREFIX_BYTES - len(self._prefix))
            self._prefix += data[:position]
            if len(self._prefix) < _PREFIX_BYTES:
                return position
            prefix, self._prefix = self._prefix, b""
            self._begin_message(*self._check_prefix(prefix, 0))
        taken = min(size - position, self._missing)
        self._keep(data[position : position + taken])
        if not self._missing:
            messages.append((self._compressed, b"".join([*self._blocks, *self._pieces])))
            self._blocks.clear()
            self._pieces.clear()
            self._is_between_messages = True
        return position + taken

    def _begin_message(self, compressed: bool, length: int) -> None:
        self._compressed = compressed
        self._length = self._missing = length
        self._is_between_messages = False

    def _keep(self, piece: bytes) -> None:
        self._missing -= len(piece)
        self._pieces.append(piece)
        if len(self._pieces) == _PIECES_PER_BLOCK:
            self._blocks.append(b"".join(self._pieces))
            self._pieces.clear()

    def _check_prefix(self, data: bytes, position: int) -> tuple[bool, int]:
        flag, length = _unpack_prefix(data, position)
        if flag > 1:
            raise RemoteProtocolError(grpc.StatusCode.INTERNAL, f"compressed flag of a message is {flag}, not 0 or 1")
        if length > self._limit:
            raise RemoteProtocolError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {self._limit})"
            )
        return flag == 1, length
