"""Message codecs by their ``grpc-encoding`` name, each bounded while it inflates (gRPC compression.md)."""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Protocol

import grpc

from quicrpc.wire.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["ACCEPT_ENCODING", "Codec", "codec_for", "compression_name", "supported_encodings"]


class Codec(Protocol):
    """One message encoding; stateless, so one object serves all calls."""

    @property
    def name(self) -> str:
        """The value of ``grpc-encoding``."""

    def compress(self, data: bytes) -> bytes:
        """Compress one message."""

    def decompress(self, data: bytes, limit: int | None) -> bytes:
        """Restore one message.

        Args:
            data: The payload of one message, whole.
            limit: Most bytes the result may have; None for no limit. A byte more than that is never produced.
        Raises: RemoteProtocolError: RESOURCE_EXHAUSTED over the limit; INTERNAL if ``data`` is corrupt, truncated, or goes on
            behind the end of its one compressed member.
        """


def _over_limit(limit: int, size: int | None = None) -> RemoteProtocolError:
    shown = f"more than {limit}, decompressed," if size is None else str(size)
    return RemoteProtocolError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({shown} vs. {limit})")


def _corrupt(name: str) -> RemoteProtocolError:
    return RemoteProtocolError(grpc.StatusCode.INTERNAL, f"a message is not one complete {name} member")


class _Identity:
    name = "identity"

    def compress(self, data: bytes) -> bytes:
        return data

    def decompress(self, data: bytes, limit: int | None) -> bytes:
        if limit is not None and len(data) > limit:
            raise _over_limit(limit, len(data))
        return data


class _Zlib:
    def __init__(self, name: str, wbits: int) -> None:
        self.name = name
        self._wbits = wbits

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data, wbits=self._wbits)

    def decompress(self, data: bytes, limit: int | None) -> bytes:
        inflater = zlib.decompressobj(self._wbits)
        try:
            # zlib takes 0 for "no limit".
            message = inflater.decompress(data, 0 if limit is None else limit + 1)
        except zlib.error:
            raise _corrupt(self.name) from None
        if limit is not None and len(message) > limit:
            raise _over_limit(limit)
        if not inflater.eof or inflater.unused_data:
            raise _corrupt(self.name)
        return message


#: A peer's frame header chooses how much window the decoder allocates. RFC 8878 3.1.1.1.2 recommends to accept up to 8 MiB.
_MAX_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024


class _Zstd:
    name = "zstd"

    def __init__(self, zstandard: ModuleType) -> None:
        self._zstandard = zstandard

    # Contexts are made per message: they must not be shared between threads, and applications do compress in threads.

    def compress(self, data: bytes) -> bytes:
        compressed: bytes = self._zstandard.ZstdCompressor().compress(data)
        return compressed

    def decompress(self, data: bytes, limit: int | None) -> bytes:
        decoder = self._zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW_BYTES)
        try:
            if limit is not None:
                declared = self._zstandard.frame_content_size(data)
                if declared > limit:
                    raise _over_limit(limit)
                if declared > 0:
                    # The library allocates the declared size, never writes beyond it, and checks the end of the frame.
                    message: bytes = decoder.decompress(data, allow_extra_data=False)
                    return message
                # Unknown size: only the reader can be bounded, only the object tells whether the frame ended with the data.
                if len(decoder.stream_reader(data).read(limit + 1)) > limit:
                    raise _over_limit(limit)
            frame = decoder.decompressobj()
            message = frame.decompress(data)
        except self._zstandard.ZstdError:
            raise _corrupt(self.name) from None
        if not frame.eof or frame.unused_data:
            raise _corrupt(self.name)
        return message


def _installed_codecs() -> dict[str, Codec]:
    codecs: list[Codec] = [_Identity(), _Zlib("deflate", 15), _Zlib("gzip", 31)]
    try:
        import zstandard
    except ImportError:
        pass
    else:
        codecs.append(_Zstd(zstandard))
    return {codec.name: codec for codec in codecs}


_CODECS = _installed_codecs()
_SUPPORTED = tuple(_CODECS)

#: Value of ``grpc-accept-encoding``.
ACCEPT_ENCODING: str = ",".join(_SUPPORTED)

_GRPC_NAMES = {
    grpc.Compression.NoCompression: "identity",
    grpc.Compression.Deflate: "deflate",
    grpc.Compression.Gzip: "gzip",
}


def codec_for(name: str) -> Codec | None:
    """The codec with this ``grpc-encoding`` name, or None if there is none."""
    return _CODECS.get(name)


def supported_encodings() -> tuple[str, ...]:
    """Names of all codecs, identity first; ``zstd`` is there when the package ``zstandard`` is."""
    return _SUPPORTED


def compression_name(compression: grpc.Compression | str | None) -> str | None:
    """Translate grpcio's ``compression=`` argument to the name of a codec.

    Args: compression: A member of grpc.Compression, the name of a codec, or None.
    Returns: The name; None for None, which leaves the choice to the channel or the server.
    Raises: LocalProtocolError: no codec has this name.
    """
    if compression is None:
        return None
    name = compression if isinstance(compression, str) else _GRPC_NAMES.get(compression)
    if name not in _CODECS:
        raise LocalProtocolError(f"compression {compression!r} is none of {ACCEPT_ENCODING}")
    return name
