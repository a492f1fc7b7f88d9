"""Builders and readers of HTTP/3 and gRPC bytes, good and bad, independent of ``quicrpc.h3`` and ``quicrpc.wire``."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import pylsqpack
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var

__all__ = [
    "CONTROL_STREAM",
    "DATA",
    "GOAWAY",
    "HEADERS",
    "SETTINGS",
    "Response",
    "data_frame",
    "frame",
    "grpc_message",
    "headers_frame",
    "parse_frames",
    "parse_response",
    "request_headers",
    "settings_frame",
    "varint",
]

# RFC 9114, 7.2 and 6.2.1.
DATA, HEADERS, SETTINGS, GOAWAY = 0x0, 0x1, 0x4, 0x7
CONTROL_STREAM = b"\x00"

Fields = Iterable[tuple[bytes, bytes]]


def varint(value: int) -> bytes:
    """Encode a QUIC variable-length integer (RFC 9000, 16)."""
    return bytes(encode_uint_var(value))


def frame(kind: int, payload: bytes, declared: int | None = None) -> bytes:
    """Encode an HTTP/3 frame; ``declared`` is the length it claims, if not its own."""
    return varint(kind) + varint(len(payload) if declared is None else declared) + payload


def headers_frame(fields: Fields) -> bytes:
    """Encode a HEADERS frame without using the dynamic table."""
    _, block = pylsqpack.Encoder().encode(0, list(fields))
    return frame(HEADERS, block)


def data_frame(payload: bytes) -> bytes:
    """Encode a DATA frame."""
    return frame(DATA, payload)


def settings_frame(settings: Iterable[tuple[int, int]] = ()) -> bytes:
    """Encode a SETTINGS frame; identifiers may repeat."""
    return frame(SETTINGS, b"".join(varint(identifier) + varint(value) for identifier, value in settings))


def grpc_message(payload: bytes, *, compressed: int = 0, declared: int | None = None) -> bytes:
    """Encode a Length-Prefixed-Message; ``declared`` is the length it claims, if not its own."""
    return struct.pack(">BI", compressed, len(payload) if declared is None else declared) + payload


def request_headers(
    path: str,
    extra: Fields = (),
    *,
    method: bytes = b"POST",
    content_type: bytes = b"application/grpc",
    authority: bytes = b"localhost",
) -> bytes:
    """Encode the HEADERS frame of a gRPC request, followed by ``extra`` fields."""
    return headers_frame(
        [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", path.encode()),
            (b"te", b"trailers"),
            (b"content-type", content_type),
            *extra,
        ]
    )


def parse_frames(data: bytes | bytearray) -> list[tuple[int, bytes]]:
    """Cut stream bytes into ``(type, payload)``. Raises ValueError: the last frame is incomplete."""
    buffer, frames = Buffer(data=bytes(data)), []
    while not buffer.eof():
        try:
            kind = buffer.pull_uint_var()
            frames.append((kind, buffer.pull_bytes(buffer.pull_uint_var())))
        except Exception as error:
            raise ValueError(f"incomplete frame after {len(frames)} whole ones") from error
    return frames


@dataclass(frozen=True, slots=True)
class Response:
    """A gRPC response. ``fields`` of a Trailers-Only response are in ``trailers`` too."""

    fields: dict[bytes, bytes]
    messages: list[bytes]
    trailers: dict[bytes, bytes]

    @property
    def grpc_status(self) -> int:
        """The status number; -1 when the response has none."""
        return int(self.trailers.get(b"grpc-status", b"-1"))


def parse_response(data: bytes | bytearray) -> Response:
    """Read a whole response. Raises ValueError: it is no sequence of HEADERS, DATA and HEADERS frames, or a message is cut."""
    decoder = pylsqpack.Decoder(0, 0)
    sections: list[dict[bytes, bytes]] = []
    body = b""
    for kind, payload in parse_frames(data):
        if kind == HEADERS:
            sections.append(dict(decoder.feed_header(0, payload)[1]))
        elif kind == DATA and len(sections) == 1:
            body += payload
        elif kind == DATA:
            raise ValueError("DATA before the header or after the trailer section")
    if not 1 <= len(sections) <= 2:
        raise ValueError(f"{len(sections)} field sections")
    messages = []
    while body:
        length = struct.unpack_from(">I", body, 1)[0] if len(body) >= 5 else len(body)
        if len(body) < 5 + length:
            raise ValueError("message cut short")
        messages.append(body[5 : 5 + length])
        body = body[5 + length :]
    return Response(sections[0], messages, sections[-1])
