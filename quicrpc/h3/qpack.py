"""Field sections as QPACK blocks, without a dynamic table (RFC 9204).

Without a dynamic table a block is a self-contained description: equal bytes mean equal fields. So a block is decoded and validated
once and then found again by its bytes, whichever connection it comes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pylsqpack

from .cache import BoundedCache
from .errors import ErrorCode, H3ConnectionError, H3StreamError
from .fields import (
    FieldLine,
    FieldSection,
    MalformedSection,
    request_section,
    response_section,
    section_bytes,
    trailer_section,
)
from .frames import HEADERS, encode_frame

__all__ = [
    "DEFAULT_MAX_BLOCK_BYTES",
    "DEFAULT_MAX_FIELD_SECTION_BYTES",
    "FieldDecoder",
    "FieldDecoders",
    "FieldSection",
    "encode_section",
    "headers_frame",
    "section_bytes",
]

#: An encoded block is buffered whole before it can be judged.
DEFAULT_MAX_BLOCK_BYTES: Final = 16 * 1024

#: Decoded size, 32 bytes added per line; what we advertise as SETTINGS_MAX_FIELD_SECTION_SIZE.
DEFAULT_MAX_FIELD_SECTION_BYTES: Final = 16 * 1024


def _cached_bytes(encoded: bytes, fields: tuple[FieldLine, ...]) -> int:
    """Return about what an encoded section and its fields occupy, from above and without a look at each line.

    A literal shrinks to 5/8 at best (RFC 7541, Appendix B); a line costs about 130 bytes of objects, and may name up to a hundred
    bytes of the static table.
    """
    return 3 * len(encoded) + 256 * len(fields)


def _decoded_cost(block: bytes, section: FieldSection) -> int:
    return _cached_bytes(block, section.fields)


class FieldDecoder:
    """Decodes and validates sections of one sort, and remembers them by their bytes.

    Connections of one endpoint may share it: what is remembered depends on the block alone, and a peer can learn from timing only
    that a whole block equal to its own was seen before.

    Args:
        validate: Turns decoded lines into a section or raises MalformedSection.
        max_field_section_bytes: Decoded size, name + value + 32 for each line.
        max_block_bytes: Encoded size; for the frame layer, which checks it before it buffers.
        max_cached_sections: How many sections are remembered.
        max_cached_bytes: How much memory they may take, about.
    """

    __slots__ = ("_cache", "_decoder", "_validate", "max_block_bytes", "max_field_section_bytes")

    def __init__(
        self,
        validate: Callable[[list[FieldLine]], FieldSection],
        *,
        max_field_section_bytes: int = DEFAULT_MAX_FIELD_SECTION_BYTES,
        max_block_bytes: int = DEFAULT_MAX_BLOCK_BYTES,
        max_cached_sections: int = 1024,
        max_cached_bytes: int = 1024 * 1024,
    ) -> None:
        self.max_field_section_bytes = max_field_section_bytes
        self.max_block_bytes = max_block_bytes
        self._validate = validate
        self._decoder = pylsqpack.Decoder(0, 0)
        self._cache = BoundedCache(_decoded_cost, max_entries=max_cached_sections, max_bytes=max_cached_bytes)

    def decode(self, stream: int, block: bytes) -> FieldSection:
        """Return the section that ``block`` encodes; the same object for the same bytes while it is remembered.

        Raises:
            H3ConnectionError: QPACK_DECOMPRESSION_FAILED: the block is no QPACK, is cut off, or refers to a dynamic table.
            H3StreamError: H3_MESSAGE_ERROR: malformed; H3_EXCESSIVE_LOAD: too large when decoded.
        """
        section = self._cache.get(block)
        if section is not None:
            return section
        try:
            fields = self._decoder.feed_header(stream, block)[1]
        except pylsqpack.DecompressionFailed as error:
            raise H3ConnectionError(ErrorCode.QPACK_DECOMPRESSION_FAILED, "field section cannot be decoded") from error
        if section_bytes(fields) > self.max_field_section_bytes:
            raise H3StreamError(stream, ErrorCode.H3_EXCESSIVE_LOAD, "field section too large")
        try:
            section = self._validate(fields)
        except MalformedSection as error:
            raise H3StreamError(stream, ErrorCode.H3_MESSAGE_ERROR, str(error)) from error
        self._cache.keep(block, section)
        return section


class FieldDecoders:
    """One decoder for each sort of section, because the same bytes may be valid as one and malformed as another.

    Args:
        max_field_section_bytes: Limit of each section's decoded size.
        max_block_bytes: Limit of each section's encoded size.
    """

    __slots__ = ("max_field_section_bytes", "requests", "responses", "trailers")

    def __init__(
        self,
        *,
        max_field_section_bytes: int = DEFAULT_MAX_FIELD_SECTION_BYTES,
        max_block_bytes: int = DEFAULT_MAX_BLOCK_BYTES,
    ) -> None:
        self.max_field_section_bytes = max_field_section_bytes

        def decoder(validate: Callable[[list[FieldLine]], FieldSection]) -> FieldDecoder:
            return FieldDecoder(validate, max_field_section_bytes=max_field_section_bytes, max_block_bytes=max_block_bytes)

        self.requests = decoder(request_section)
        self.responses = decoder(response_section)
        self.trailers = decoder(trailer_section)


def encode_section(fields: Sequence[FieldLine]) -> bytes:
    """Return the encoded block.

    Args: fields: lines in order, pseudo-headers first; the caller answers for their validity and for the peer's size limit.
    Raises: ValueError: a name or value that is not bytes, is longer than 65,535, or a name that is empty.
    """
    return pylsqpack.Encoder().encode(0, list(fields))[1]


def _encoded_cost(fields: tuple[FieldLine, ...], frame: bytes) -> int:
    return _cached_bytes(frame, fields)


# Most sections we send repeat: a handful of response headers and trailers, and each client's request headers for each method.
_frames: Final[BoundedCache[tuple[FieldLine, ...], bytes]] = BoundedCache(_encoded_cost, max_entries=512, max_bytes=256 * 1024)


def headers_frame(fields: Sequence[FieldLine]) -> bytes:
    """Return a whole HEADERS frame, encoded once for equal fields while it is remembered; see :func:`encode_section`."""
    key = tuple(fields)
    frame = _frames.get(key)
    if frame is None:
        frame = encode_frame(HEADERS, encode_section(key))
        _frames.keep(key, frame)
    return frame
