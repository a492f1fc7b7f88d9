"""Metadata as applications give it: checked the way grpcio checks it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grpc import aio

from quicrpc.wire.errors import LocalProtocolError
from quicrpc.wire.metadata import encode_metadata

__all__ = ["Entry", "InvalidMetadata", "checked_metadata", "take_compression"]

#: One metadata entry: lower-case key; text, or bytes for keys that end in "-bin".
Entry = tuple[str, str | bytes]

#: Metadata key with which grpcio's Python layer asks its core for compression; never sent.
_COMPRESSION_REQUEST_KEY = "grpc-internal-encoding-request"


class InvalidMetadata(aio.InternalError, ValueError):
    """Metadata with an illegal key or value; grpcio raises an InternalError for it that names neither."""


def checked_metadata(metadata: Any) -> tuple[Entry, ...]:
    """Return metadata as a tuple, refusing what grpcio refuses.

    Raises:
        TypeError: not a sequence of (str, str or bytes) pairs.
        InvalidMetadata: an illegal key or value.
    """
    entries = tuple(metadata) if metadata is not None else ()
    for entry in entries:
        key, value = entry
        if not isinstance(key, str) or not isinstance(value, str | bytes):
            raise TypeError(f"metadata was invalid: {metadata}")
    try:
        encode_metadata(entries)
    except LocalProtocolError as error:
        raise InvalidMetadata(f"metadata was invalid: {error}") from error
    return entries


def take_compression(metadata: Iterable[Entry]) -> tuple[str | None, tuple[Entry, ...]]:
    """Split the compression that grpcio's Python layer asks for from the metadata that is sent."""
    entries = tuple(metadata)
    wanted = next((value for key, value in entries if key == _COMPRESSION_REQUEST_KEY), None)
    if wanted is None:
        return None, entries
    return str(wanted), tuple(entry for entry in entries if entry[0] != _COMPRESSION_REQUEST_KEY)
