"""Messages of content.proto <-> values of the domain."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from quicrpc.gen.content.content_pb2 import DownloadRequest, FileInfo, StatFileRequest

from .domain import FileKey, FileRecord, InvalidRequest

__all__ = ["file_info", "file_key"]

_NS = 1_000_000_000


def file_info(record: FileRecord) -> FileInfo:
    """Return the message for a stored file."""
    created_at = Timestamp(seconds=record.created_ns // _NS, nanos=record.created_ns % _NS)
    return FileInfo(object_id=record.object_id, name=record.name, size=record.size, sha256=record.sha256, created_at=created_at)


def file_key(request: DownloadRequest | StatFileRequest) -> FileKey:
    """Return the key that a request names a file by. Raises InvalidRequest if it has none."""
    if not request.object_id and not request.name:
        raise InvalidRequest("object_id or name must be given")
    return FileKey(request.object_id, request.name)
