"""``sky_genesis.StreamingService`` and ``sky_genesis.Health``: from messages to the store and back.

The store blocks, so it is called in threads; bytes are handed over by the mebibyte so that a hand-over costs little.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import grpc
import grpc.aio

from quicrpc.gen.content import content_pb2, content_pb2_grpc

from .convert import file_info, file_key
from .domain import ContentError, DamagedFile, FileRecord, FileUnknown, InvalidRequest, OffsetPastEnd, StorageFull
from .store import FileStore, Upload

__all__ = ["Health", "StreamingService"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Context = grpc.aio.ServicerContext[Any, Any]

#: Received bytes that are kept in memory before they are written.
_WRITE_BYTES = 1024 * 1024

#: With names of 4 KiB a page of this size still is a message of less than 4 MiB.
_MAX_PAGE_SIZE = 500

_STATUSES: dict[type[ContentError], grpc.StatusCode] = {
    DamagedFile: grpc.StatusCode.DATA_LOSS,
    FileUnknown: grpc.StatusCode.NOT_FOUND,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    OffsetPastEnd: grpc.StatusCode.OUT_OF_RANGE,
    StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class StreamingService(content_pb2_grpc.StreamingServiceServicer):
    """Serves the files of one store."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def UploadFile(
        self, request_iterator: AsyncIterator[content_pb2.FileChunk], context: _Context
    ) -> content_pb2.UploadResponse:
        async with _status_of_errors(context):
            return content_pb2.UploadResponse(file=file_info(await self._receive(request_iterator)))

    async def _receive(self, chunks: AsyncIterator[content_pb2.FileChunk]) -> FileRecord:
        upload: Upload | None = None
        pieces: list[bytes] = []
        waiting_bytes = 0
        sha256 = b""
        try:
            async for chunk in chunks:
                if sha256:
                    raise InvalidRequest("a chunk follows the one with sha256")
                if chunk.HasField("file") != (upload is None):
                    raise InvalidRequest("the first chunk, and no other, must carry file")
                if upload is None:
                    upload = self._store.upload(chunk.file.name, chunk.file.size)
                sha256 = chunk.sha256
                pieces.append(chunk.data)
                waiting_bytes += len(chunk.data)
                if waiting_bytes >= _WRITE_BYTES:
                    await _in_thread(upload.write, pieces)
                    pieces, waiting_bytes = [], 0
            if upload is None:
                raise InvalidRequest("no chunk came")
            return await _in_thread(upload.finish, pieces, sha256)
        finally:
            if upload is not None and not upload.ended:
                await _in_thread(upload.discard)

    async def DownloadFile(self, request: content_pb2.DownloadRequest, context: _Context) -> AsyncIterator[content_pb2.FileChunk]:
        async with _status_of_errors(context):
            length = request.length if request.HasField("length") else None
            download = self._store.download(file_key(request), request.offset, length)
            try:
                data = await _in_thread(download.read_next)
                yield content_pb2.FileChunk(file=file_info(download.record), data=data)
                while not download.ended:
                    yield content_pb2.FileChunk(data=await _in_thread(download.read_next))
            finally:
                download.close()

    async def StatFile(self, request: content_pb2.StatFileRequest, context: _Context) -> content_pb2.FileInfo:
        async with _status_of_errors(context):
            return file_info(await _in_thread(self._store.find, file_key(request)))

    async def ListFiles(self, request: content_pb2.ListFilesRequest, context: _Context) -> content_pb2.ListFilesResponse:
        async with _status_of_errors(context):
            size = min(request.page_size or _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
            records = await _in_thread(self._store.page, request.prefix, request.page_token, size + 1)
            page = records[:size]
            token = page[-1].name if len(records) > size else ""
            return content_pb2.ListFilesResponse(files=map(file_info, page), next_page_token=token)


class Health(content_pb2_grpc.HealthServicer):
    """Tells whether the store can be used."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        package = content_pb2.DESCRIPTOR
        self._services = {"", *(service.full_name for service in package.services_by_name.values())}

    async def Check(self, request: content_pb2.HealthCheckRequest, context: _Context) -> content_pb2.HealthCheckResponse:
        if request.service not in self._services:
            return content_pb2.HealthCheckResponse(status=content_pb2.HealthCheckResponse.UNKNOWN)
        usable = await _in_thread(self._store.is_usable)
        states = content_pb2.HealthCheckResponse
        return content_pb2.HealthCheckResponse(status=states.SERVING if usable else states.NOT_SERVING)


async def _in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run ``function`` in a thread; when cancelled, wait for its end first, so that nothing touches the file after cleaning up."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


@asynccontextmanager
async def _status_of_errors(context: _Context) -> AsyncIterator[None]:
    """End the call with the status of the domain error that its body raises."""
    try:
        yield
    except ContentError as error:
        await context.abort(_STATUSES[type(error)], str(error))
