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

#: Downloads that broke off without one new byte, before the error is given up to.
_MAX_FRUITLESS_ATTEMPTS = 3


class ContentClient:
    """Uploads and downloads over one channel. Errors of calls are :class:`grpc.aio.AioRpcError`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = content_pb2_grpc.StreamingServiceStub(channel)

    async def upload(self, path: Path, name: str, on_bytes: OnBytes = lambda count: None) -> content_pb2.FileInfo:
        """Store the file at ``path`` under ``name``. Raises OSError if it cannot be read."""
        file = await asyncio.to_thread(path.open, "rb")
        try:
            response = await self._stub.UploadFile(_chunks(file, name, on_bytes))
        finally:
            file.close()
        return response.file

    async def stat(self, name: str) -> content_pb2.FileInfo:
        """Return what is known about the file called ``name``."""
        return await self._stub.StatFile(content_pb2.StatFileRequest(name=name))

    async def download(self, info: content_pb2.FileInfo, path: Path, on_bytes: OnBytes = lambda count: None) -> None:
        """Fetch a file, as ``stat`` or ``files`` described it, to ``path``, whose directory must exist.

        Bytes are kept in ``PATH.OBJECT_ID.part`` until all have come and the checksum is right; a later call goes on from there.

        Raises: DamagedFile: the bytes do not have the checksum (the partial file is removed). OSError.
        """
        partial = path.with_name(f"{path.name}.{info.object_id}.part")
        target = await asyncio.to_thread(_Target, partial)
        try:
            on_bytes(target.size)
            await self._receive(info, target, on_bytes)
            if target.size != info.size or target.sha256() != info.sha256:
                partial.unlink()
                raise DamagedFile(f"{info.name}: the bytes received do not have the file's checksum")
            await asyncio.to_thread(partial.replace, path)
        finally:
            target.close()

    async def _receive(self, info: content_pb2.FileInfo, target: _Target, on_bytes: OnBytes) -> None:
        fruitless = 0
        while target.size < info.size:
            before = target.size
            try:
                request = content_pb2.DownloadRequest(object_id=info.object_id, offset=before)
                async for chunk in self._stub.DownloadFile(request):
                    await asyncio.to_thread(target.write, chunk.data)
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
        """Fetch files to paths, ``in_flight`` at a time, making directories. Stops at the first error and raises it."""

        async def fetch(file: tuple[content_pb2.FileInfo, Path]) -> None:
            info, path = file
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
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


async def _chunks(file: IO[bytes], name: str, on_bytes: OnBytes) -> AsyncIterator[content_pb2.FileChunk]:
    left = os.fstat(file.fileno()).st_size
    info: content_pb2.FileInfo | None = content_pb2.FileInfo(name=name, size=left)
    sha256 = hashlib.sha256()

    def read() -> bytes:
        data = file.read(min(left, _CHUNK_BYTES))
        sha256.update(data)
        return data

    while True:
        data = await asyncio.to_thread(read)
        left -= len(data)
        # A file that shrinks meanwhile ends early; the server then refuses it for its size.
        last = left == 0 or not data
        yield content_pb2.FileChunk(file=info, data=data, sha256=sha256.digest() if last else b"")
        on_bytes(len(data))
        if last:
            return
        info = None


class _Target:
    """A file that is being received, with the hash of what it has. Blocks: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
        self._sha256 = hashlib.sha256()
        self.size = 0
        while data := self._file.read(_CHUNK_BYTES):
            self._sha256.update(data)
            self.size += len(data)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._sha256.update(data)
        self.size += len(data)

    def sha256(self) -> bytes:
        return self._sha256.digest()

    def close(self) -> None:
        self._file.close()


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
