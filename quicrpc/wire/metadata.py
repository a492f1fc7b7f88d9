"""Custom metadata to field lines and back (gRPC PROTOCOL-HTTP2, Custom-Metadata)."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import lru_cache

import grpc

from quicrpc.wire.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["decode_metadata", "encode_metadata"]

Field = tuple[bytes, bytes]
Metadata = tuple[tuple[str, str | bytes], ...]

_LEGAL_KEY = re.compile(r"[0-9a-z_.-]+")

#: Fields that belong to the transport and never appear as metadata.
_TRANSPORT_FIELDS = frozenset(
    {
        b":authority",
        b":method",
        b":path",
        b":scheme",
        b":status",
        b"content-length",
        b"content-type",
        b"grpc-accept-encoding",
        b"grpc-encoding",
        b"grpc-message",
        b"grpc-status",
        b"grpc-timeout",
        b"host",
        b"te",
    }
)

#: Keys that are dropped without a word. grpcio drops its transport's own keys and user-agent; the connection-specific ones,
#: which grpcio lets through, would make a request malformed (RFC 9114 4.2), and so would a host other than :authority (4.3.1).
_DROPPED_KEYS = _TRANSPORT_FIELDS | {
    b"connection",
    b"grpc-internal-encoding-request",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"user-agent",
}


def encode_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[bytes, bytes]]:
    """Write custom metadata as field lines, in order.

    Keys that the transport sets itself (``te``, ``content-type``, ``user-agent``, ``grpc-timeout``, ``grpc-encoding``,
    ``grpc-status``, ...) are dropped silently, as grpcio does. Other keys that begin with ``grpc-`` pass, as they do in grpcio
    (``grpc-status-details-bin``, ``grpc-previous-rpc-attempts``, ``grpc-trace-bin``, ``grpc-tags-bin``,
    ``grpc-retry-pushback-ms``). Spaces around a value are taken off, which gRPC allows and HTTP demands.

    Args:
        metadata: (key, value) pairs. Keys are of ``[0-9a-z_.-]``. Keys that end in ``-bin`` have bytes; the others have
            printable ASCII, as str or bytes.
    Returns: (name, value) pairs; values of ``-bin`` keys are base64 without padding.
    Raises: LocalProtocolError: a key or value is not of that form.
    Source: gRPC PROTOCOL-HTTP2, Custom-Metadata.
    """
    if not metadata:
        return []
    fields: list[Field] = []
    for key, value in metadata:
        name = _encode_key(key) if isinstance(key, str) else _refuse_key(key)
        if name in _DROPPED_KEYS:
            continue
        if name.endswith(b"-bin"):
            if not isinstance(value, bytes):
                raise LocalProtocolError(f"metadata value of {key!r} must be bytes, not {type(value).__name__}")
            fields.append((name, b2a_base64(value, newline=False).rstrip(b"=")))
        else:
            fields.append((name, _encode_text(key, value)))
    return fields


@lru_cache(maxsize=1024)
def _encode_key(key: str) -> bytes:
    if _LEGAL_KEY.fullmatch(key) is None:
        _refuse_key(key)
    return key.encode("ascii")


def _refuse_key(key: object) -> bytes:
    raise LocalProtocolError(f"metadata key {key!r} is not made of lower-case letters, digits, '_', '-' and '.'")


def _encode_text(key: str, value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif not isinstance(value, str):
        raise LocalProtocolError(f"metadata value of {key!r} must be str, not {type(value).__name__}")
    if not (value.isascii() and value.isprintable()):
        # The value stays out of the error: it may be a secret.
        raise LocalProtocolError(f"metadata value of {key!r} is not printable ASCII")
    return value.strip(" ").encode("ascii")


def decode_metadata(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    """Read the metadata of a field section, in order, repeated keys kept.

    Pseudo-headers and the fields of the transport are left out; ``user-agent`` stays, as it does in grpcio.

    Returns: (key, value) pairs, with bytes for keys that end in ``-bin`` (one pair for each comma-separated part) and str for
        the others (UTF-8, or Latin-1 if it is not UTF-8).
    Raises: RemoteProtocolError: INTERNAL for a ``-bin`` value that is not base64, with or without padding.
    Source: gRPC PROTOCOL-HTTP2, Custom-Metadata.
    """
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name in _TRANSPORT_FIELDS:
            continue
        if name.endswith(b"-bin"):
            key = decode_text(name)
            if b"," in value:
                metadata += [(key, _decode_base64(key, part.strip(b" "))) for part in value.split(b",")]
            else:
                metadata.append((key, _decode_base64(key, value)))
        else:
            metadata.append((decode_text(name), decode_text(value)))
    return tuple(metadata)


def decode_text(value: bytes) -> str:
    """The text of a field name or value: UTF-8, or Latin-1 if it is not UTF-8, as grpcio does it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decode_base64(key: str, value: bytes) -> bytes:
    try:
        return a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except Base64Error:
        raise RemoteProtocolError(grpc.StatusCode.INTERNAL, f"metadata value of {key[:64]!a} is not base64") from None
