"""Copies files and directory trees through ``sky_genesis.StreamingService``, over any channel."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import IO, TypeVar

import grpc
import grpc.aio

from quicrpc.gen.content import content_pb2, content_pb2_grpc

from .domain import DamagedFile, check_name

__all__ = ["ContentClient", "OnBytes", "tree_files"]

_T = TypeVar("_T")

#: Told how many bytes have been sent or received since it was last told.
OnBytes = Callable[[int], object]

#: See FileChunk in content.proto.
_CHUNK_BYTES = 512 * 1024

#: Received bytes that are kept in memory before they are written.
_FLUSH_BYTES = 1024 * 1024

#: Downloads that broke off without one new byte, before the error is given up to.
_MAX_FRUITLESS_ATTEMPTS = 3


class ContentClient:
    """Uploads and downloads over one channel. Errors of calls are :class:`grpc.aio.AioRpcError`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = content_pb2_grpc.StreamingServiceStub(channel)

    async def upload(self, path: Path, name: str, on_bytes: OnBytes = lambda count: None) -> content_pb2.FileInfo:
        """Store the file at ``path`` under ``name``. Raises OSError if it cannot be read."""
        source = _Source(path)
        try:
            response = await self._stub.UploadFile(_chunks(source, name, on_bytes))
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            # grpc.aio cancels a call whose requests raise.
            if source.error is not None:
                raise source.error from None
            raise
        finally:
            source.close()
        return response.file

    async def stat(self, name: str) -> content_pb2.FileInfo:
        """Return what is known about the file called ``name``."""
        return await self._stub.StatFile(content_pb2.StatFileRequest(name=name))

    async def download(self, info: content_pb2.FileInfo, path: Path, on_bytes: OnBytes = lambda count: None) -> None:
        """Fetch a file, as ``stat`` or ``files`` described it, to ``path``, making its directory if need be.

        Bytes are kept in ``PATH.OBJECT_ID.part`` until all have come and the checksum is right; a later call goes on from there.

        Raises: DamagedFile: the bytes do not have the checksum (the partial file is removed). OSError.
        """
        target = _Target(path, info)
        try:
            if await asyncio.to_thread(target.resume):
                on_bytes(target.size)
            await self._receive(info, target, on_bytes)
            await asyncio.to_thread(target.finish)
        finally:
            target.close()

    async def _receive(self, info: content_pb2.FileInfo, target: _Target, on_bytes: OnBytes) -> None:
        fruitless = 0
        while target.size < info.size:
            before = target.size
            try:
                request = content_pb2.DownloadRequest(object_id=info.object_id, offset=before)
                async for chunk in self._stub.DownloadFile(request):
                    if target.add(chunk.data):
                        await asyncio.to_thread(target.flush)
                    on_bytes(len(chunk.data))
                return
            except grpc.aio.AioRpcError as error:
                fruitless = fruitless + 1 if target.size == before else 0
                if error.code() is not grpc.StatusCode.UNAVAILABLE or fruitless == _MAX_FRUITLESS_ATTEMPTS:
                    raise

    async def files(self, prefix: str = "") -> AsyncIterator[content_pb2.FileInfo]:
        """Yield the files whose names begin with ``prefix``, in the byte order of their names."""
        token = ""
        while True:
            page = await self._stub.ListFiles(content_pb2.ListFilesRequest(prefix=prefix, page_token=token))
            for info in page.files:
                yield info
            token = page.next_page_token
            if not token:
                return

    async def upload_all(
        self, files: Iterable[tuple[Path, str]], *, in_flight: int, on_bytes: OnBytes = lambda count: None
    ) -> None:
        """Store files, each a path and a name, ``in_flight`` at a time. Stops at the first error and raises it."""

        async def store(file: tuple[Path, str]) -> None:
            path, name = file
            await self.upload(path, name, on_bytes)

        await _several(files, in_flight, store)

    async def download_all(
        self, files: Iterable[tuple[content_pb2.FileInfo, Path]], *, in_flight: int, on_bytes: OnBytes = lambda count: None
    ) -> None:
        """Fetch files to paths, ``in_flight`` at a time. Stops at the first error and raises it."""

        async def fetch(file: tuple[content_pb2.FileInfo, Path]) -> None:
            info, path = file
            await self.download(info, path, on_bytes)

        await _several(files, in_flight, fetch)


def tree_files(root: Path, prefix: str, *, skip: Collection[str] = ()) -> list[tuple[Path, str]]:
    """Return the regular files below ``root``, each with its name: ``prefix``, "/" and its path inside the tree.

    Args:
        root: A directory. Symbolic links to directories are not followed.
        prefix: Legal as a name.
        skip: Names of directories to leave out wherever they occur.

    Raises: InvalidRequest: a path in the tree cannot be a name (such as one with a backslash). OSError.
    """
    files = []
    for directory, subdirectories, names in os.walk(root, onerror=_reraise):
        subdirectories[:] = sorted(name for name in subdirectories if name not in skip)
        for path in (Path(directory, name) for name in sorted(names)):
            if path.is_file():
                files.append((path, check_name(f"{prefix}/{path.relative_to(root).as_posix()}")))
    return files


def _reraise(error: OSError) -> None:
    raise error


async def _chunks(source: _Source, name: str, on_bytes: OnBytes) -> AsyncIterator[content_pb2.FileChunk]:
    first = True
    while not source.ended:
        data = await asyncio.to_thread(source.read_next)
        chunk = content_pb2.FileChunk(data=data)
        if first:
            chunk.file.name, chunk.file.size = name, source.size
            first = False
        if source.ended:
            chunk.sha256 = source.sha256()
        yield chunk
        on_bytes(len(data))


class _Source:
    """A file that is being sent, with the hash of what was read. ``read_next`` blocks: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._left = 0
        self.size = 0
        self.ended = False
        self.error: OSError | None = None

    def read_next(self) -> bytes:
        try:
            if self._file is None:
                self._file = self._path.open("rb", buffering=0)
                self._left = self.size = os.fstat(self._file.fileno()).st_size
            data = self._file.read(min(self._left, _CHUNK_BYTES))
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        self._left -= len(data)
        # A file that shrinks meanwhile ends early; the server then refuses it for its size.
        self.ended = self._left == 0 or not data
        return data

    def sha256(self) -> bytes:
        return self._hash.digest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Target:
    """A file that is being received, with the hash of what it has. ``add`` keeps bytes in memory; the others block."""

    def __init__(self, path: Path, info: content_pb2.FileInfo) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.{info.object_id}.part")
        self._info = info
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self.size = 0

    def resume(self) -> bool:
        """Take what an earlier run left; tell whether there was anything."""
        if not self._partial.exists():
            return False
        file = self._open()
        while data := file.read(_CHUNK_BYTES):
            self._hash.update(data)
            self.size += len(data)
        return True

    def add(self, data: bytes) -> bool:
        """Take bytes; tell whether ``flush`` is due."""
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        self.size += len(data)
        return self._waiting_bytes >= _FLUSH_BYTES

    def flush(self) -> None:
        """Write what waits in memory."""
        file = self._file or self._open()
        for piece in self._pieces:
            self._hash.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
        self._pieces.clear()
        self._waiting_bytes = 0

    def finish(self) -> None:
        """Write the rest, compare with size and checksum, and give the file its name. Raises DamagedFile."""
        self.flush()
        if self.size != self._info.size or self._hash.digest() != self._info.sha256:
            self._partial.unlink()
            raise DamagedFile(f"{self._info.name}: the bytes received do not have the file's checksum")
        self._partial.replace(self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._partial, flags, 0o666), "r+b", buffering=0)
        return self._file


async def _several(items: Iterable[_T], in_flight: int, work: Callable[[_T], Awaitable[None]]) -> None:
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
