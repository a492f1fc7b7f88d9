"""Files on disk, each under its object id, and the catalogue that says which exist. Everything here blocks: call it in a thread."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .catalogue import Catalogue
from .domain import DamagedFile, FileKey, FileRecord, StorageFull, UploadCheck, byte_range, check_name, check_object_id

__all__ = ["Download", "FileStore", "Upload"]

_PARTIAL = ".part"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: What one read hands out: large enough that the thread's hand-over is cheap, small enough to be one gRPC message.
_READ_BYTES = 512 * 1024


class FileStore:
    """A directory of files.

    Several processes may share one directory. Whatever a killed process left half done is removed by the next one that opens the
    directory while nobody else has it.
    """

    def __init__(self, directory: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Open, or create, the store in ``directory``.

        Args:
            directory: Private to the store.
            now_ns: The clock for ``FileRecord.created_ns``.

        Raises: OSError: the directory cannot be created, locked or written.
        """
        objects = directory / "objects"
        objects.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._now_ns = now_ns
        self._objects_fd = os.open(objects, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            alone = self._lock()
            self._catalogue = Catalogue(directory / "catalogue.sqlite3", lambda: os.fsync(self._objects_fd))
            if alone:
                self._sweep()
                fcntl.flock(self._objects_fd, fcntl.LOCK_SH)
        except BaseException:
            os.close(self._objects_fd)
            raise

    def _lock(self) -> bool:
        """Mark the directory as in use until the descriptor is closed; tell whether nobody else had it."""
        try:
            fcntl.flock(self._objects_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            fcntl.flock(self._objects_fd, fcntl.LOCK_SH)
            return False

    def _sweep(self) -> None:
        known = self._catalogue.object_ids()
        for name in os.listdir(self._objects_fd):  # noqa: PTH208  # pathlib cannot list a descriptor
            if name not in known:
                os.unlink(name, dir_fd=self._objects_fd)

    def upload(self, name: str, size: int) -> Upload:
        """Begin an upload; nothing is on disk yet. Raises InvalidRequest."""
        return Upload(self, check_name(name), size)

    def download(self, key: FileKey, offset: int = 0, length: int | None = None) -> Download:
        """Begin a download; nothing is read yet. Raises InvalidRequest."""
        return Download(self, _checked(key), offset, length)

    def find(self, key: FileKey) -> FileRecord:
        """Return what is known about a file. Raises InvalidRequest or FileUnknown."""
        return self._catalogue.find(_checked(key))

    def page(self, prefix: str, after: str, limit: int) -> list[FileRecord]:
        """Return at most ``limit`` records, in the byte order of their names, that begin with ``prefix`` and follow ``after``."""
        return self._catalogue.page(prefix, after, limit)

    def is_usable(self) -> bool:
        """Tell whether the directory can be written."""
        return os.access(".", os.W_OK, dir_fd=self._objects_fd)

    def close(self) -> None:
        """Close the store; uploads and downloads must have ended."""
        self._catalogue.close()
        os.close(self._objects_fd)

    def _create(self, partial: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(partial, flags, 0o600, dir_fd=self._objects_fd)

    def _open(self, object_id: str) -> int:
        return os.open(object_id, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._objects_fd)

    def _publish(self, partial: str, record: FileRecord) -> None:
        os.rename(partial, record.object_id, src_dir_fd=self._objects_fd, dst_dir_fd=self._objects_fd)
        try:
            replaced = self._catalogue.add(record)
        except BaseException:
            self._remove(record.object_id)
            raise
        if replaced is not None:
            self._remove(replaced)

    def _remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._objects_fd)


class Upload:
    """A file on its way in. ``discard`` may be called at any time, from any thread; the other methods one after the other."""

    def __init__(self, store: FileStore, name: str, size: int) -> None:
        self._store = store
        self._check = UploadCheck(size)
        self._name = name
        self._size = size
        self._object_id = secrets.token_hex(16)
        self._fd: int | None = None
        self._lock = threading.Lock()
        self._ended = False

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append bytes. Raises DamagedFile (more than announced) or StorageFull."""
        with self._lock, _full_disk():
            self._append(pieces)

    def finish(self, pieces: Sequence[bytes], sha256: bytes) -> FileRecord:
        """Append the last bytes, verify size and checksum, and make the file visible and durable.

        Raises: DamagedFile, InvalidRequest or StorageFull; ``discard`` is still due then.
        """
        with self._lock, _full_disk():
            fd = self._append(pieces)
            self._check.finish(sha256)
            os.fsync(fd)
            record = FileRecord(self._object_id, self._name, self._size, sha256, self._store._now_ns())
            self._store._publish(self._partial, record)
            self._ended = True
            self._close()
            return record

    def discard(self) -> None:
        """Remove every trace, unless the upload was finished. May be called twice."""
        with self._lock:
            if not self._ended and self._fd is not None:
                self._close()
                with _missing_is_fine():
                    self._store._remove(self._partial)
            self._ended = True

    @property
    def ended(self) -> bool:
        """Whether the upload was finished or discarded."""
        return self._ended

    @property
    def _partial(self) -> str:
        return self._object_id + _PARTIAL

    def _append(self, pieces: Sequence[bytes]) -> int:
        if self._ended:
            raise ValueError("the upload has ended")
        if self._fd is None:
            self._fd = self._store._create(self._partial)
        for piece in pieces:
            self._check.add(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        return self._fd

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Download:
    """A file, or a part of it, on its way out. Not to be shared by threads."""

    def __init__(self, store: FileStore, key: FileKey, offset: int, length: int | None) -> None:
        self._store = store
        self._key = key
        self._offset = offset
        self._length = length
        self._fd: int | None = None
        self._record: FileRecord | None = None
        self._position = self._end = 0

    @property
    def record(self) -> FileRecord:
        """The file; known after the first read."""
        if self._record is None:
            raise ValueError("nothing was read yet")
        return self._record

    @property
    def ended(self) -> bool:
        """Whether all bytes asked for were read."""
        return self._record is not None and self._position == self._end

    def read_next(self) -> bytes:
        """Return the next bytes, at most 512 KiB; b"" at the end.

        Raises: FileUnknown or OffsetPastEnd at the first read, DamagedFile if the file on disk is shorter than its record says.
        """
        fd = self._open() if self._fd is None else self._fd
        data = os.pread(fd, min(_READ_BYTES, self._end - self._position), self._position)
        if not data and self._position < self._end:
            raise DamagedFile("the stored file is incomplete")
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        while True:
            record = self._store._catalogue.find(self._key)
            try:
                self._fd = self._store._open(record.object_id)
                break
            except FileNotFoundError:
                # Replaced between the two steps, or else lost.
                if self._store._catalogue.find(self._key) == record:
                    raise DamagedFile("the stored file is missing") from None
        self._record = record
        self._position, self._end = byte_range(record.size, self._offset, self._length)
        return self._fd


def _checked(key: FileKey) -> FileKey:
    if key.object_id:
        check_object_id(key.object_id)
    else:
        check_name(key.name)
    return key


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("no space left for the file") from error
        raise


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass
