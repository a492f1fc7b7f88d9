"""Files as values: names, records, and the check that an upload is what it claims to be. No I/O and no gRPC."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

__all__ = [
    "ContentError",
    "DamagedFile",
    "FileKey",
    "FileRecord",
    "FileUnknown",
    "InvalidRequest",
    "OffsetPastEnd",
    "StorageFull",
    "UploadCheck",
    "byte_range",
    "check_name",
    "check_object_id",
]

#: What file systems take: NAME_MAX for a part, PATH_MAX for the whole. A tree that was put can so be got back.
_MAX_PART_BYTES = 255
_MAX_NAME_BYTES = 4096

#: The largest offset that a file can have (off_t).
_MAX_FILE_BYTES = 2**63 - 1

_OBJECT_ID = re.compile(r"[0-9a-f]{32}")


class ContentError(Exception):
    """A request that cannot be met; the text is meant for the client."""


class InvalidRequest(ContentError):
    """The request breaks a rule of the interface."""


class DamagedFile(ContentError):
    """Bytes are missing or differ from what was announced."""


class FileUnknown(ContentError):
    """No file has this name or object id."""


class OffsetPastEnd(ContentError):
    """The part asked for begins after the end of the file."""


class StorageFull(ContentError):
    """The disk, or the share of it that we may use, is full."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A stored file.

    Attributes:
        object_id: 32 hexadecimal digits, the name of the file on the server's disk.
        name: Relative path given by the client; only data.
        size: Bytes.
        sha256: Of the whole file, 32 bytes.
        created_ns: When it was stored, nanoseconds since 1970 in UTC.
    """

    object_id: str
    name: str
    size: int
    sha256: bytes
    created_ns: int


@dataclass(frozen=True, slots=True)
class FileKey:
    """Which file: by object id or, if that is empty, the file that has this name now."""

    object_id: str = ""
    name: str = ""


def check_name(name: str) -> str:
    """Return ``name`` if it is a legal relative path, see StreamingService in content.proto. Raises InvalidRequest."""
    if not name:
        raise InvalidRequest("name is empty")
    if "\0" in name:
        raise InvalidRequest("name contains NUL")
    if "\\" in name:
        raise InvalidRequest("name contains a backslash")
    if name.startswith("/"):
        raise InvalidRequest("name is an absolute path")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("name is not valid Unicode") from None
    if len(encoded) > _MAX_NAME_BYTES:
        raise InvalidRequest(f"name is longer than {_MAX_NAME_BYTES} bytes")
    for part in encoded.split(b"/"):
        if not part:
            raise InvalidRequest("name has an empty part")
        if part in (b".", b".."):
            raise InvalidRequest("name has a part that is . or ..")
        if len(part) > _MAX_PART_BYTES:
            raise InvalidRequest(f"name has a part longer than {_MAX_PART_BYTES} bytes")
    return name


def check_object_id(object_id: str) -> str:
    """Return ``object_id`` if it has the form of one. Raises InvalidRequest."""
    if not _OBJECT_ID.fullmatch(object_id):
        raise InvalidRequest("object_id is not 32 lower-case hexadecimal digits")
    return object_id


def byte_range(size: int, offset: int, length: int | None) -> tuple[int, int]:
    """Return first byte and end (exclusive) of the part of a file of ``size`` bytes. Raises OffsetPastEnd."""
    if offset > size:
        raise OffsetPastEnd(f"offset {offset} is past the end of the file, {size} bytes")
    return offset, size if length is None else min(size, offset + length)


class UploadCheck:
    """Counts and hashes an upload as it comes."""

    def __init__(self, announced_size: int) -> None:
        """Raises InvalidRequest if no file can have ``announced_size`` bytes."""
        if announced_size > _MAX_FILE_BYTES:
            raise InvalidRequest(f"size is larger than {_MAX_FILE_BYTES}")
        self._announced_size = announced_size
        self._size = 0
        self._sha256 = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Take the next bytes. Raises DamagedFile as soon as there are more than announced."""
        self._size += len(data)
        if self._size > self._announced_size:
            raise DamagedFile(f"more bytes came than the announced {self._announced_size}")
        self._sha256.update(data)

    def finish(self, announced_sha256: bytes) -> None:
        """Compare with what was announced. Raises DamagedFile, or InvalidRequest if there is no checksum to compare with."""
        if self._size < self._announced_size:
            raise DamagedFile(f"{self._size} bytes came of the announced {self._announced_size}")
        if len(announced_sha256) != self._sha256.digest_size:
            raise InvalidRequest("sha256 of the last chunk must have 32 bytes")
        if self._sha256.digest() != announced_sha256:
            raise DamagedFile("the file's bytes do not have the announced sha256")
