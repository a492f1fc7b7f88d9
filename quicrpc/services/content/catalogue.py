"""Which files exist: one SQLite table. A file exists from the moment its row is committed, see docs/decisions/content-store.md."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from .domain import FileKey, FileRecord, FileUnknown, StorageFull

__all__ = ["Catalogue"]

_SCHEMA_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE files (
        name TEXT PRIMARY KEY,
        object_id TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        created_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    PRAGMA user_version = {_SCHEMA_VERSION};
"""
_COLUMNS = "object_id, name, size, sha256, created_ns"

#: Another process that shares the directory commits in milliseconds.
_BUSY_TIMEOUT_S = 10.0


class _Addition:
    """A record on its way into the table, and what became of it."""

    __slots__ = ("done", "error", "record", "replaced")

    def __init__(self, record: FileRecord) -> None:
        self.record = record
        self.replaced: str | None = None
        self.error: Exception | None = None
        self.done = False


class Catalogue:
    """The table of files. All methods block and may be called from any thread."""

    def __init__(self, path: Path, sync_files: Callable[[], None]) -> None:
        """Open the table, creating it if need be.

        Args:
            path: The database file.
            sync_files: Called before each commit: makes the directory entries of the files that the commit names durable.
        """
        self._sync_files = sync_files
        self._waiting: SimpleQueue[_Addition] = SimpleQueue()
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except BaseException:
            self._database.close()
            raise

    def _migrate(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._database.execute(statement)
        self._database.execute("COMMIT")
        if version > _SCHEMA_VERSION:
            raise OSError(f"the data directory was written by a newer version (schema {version})")

    def add(self, record: FileRecord) -> str | None:
        """Commit a record durably; it takes its name from the file that had it.

        Additions that wait for each other are committed together, so that a thousand small files do not cost a thousand syncs.

        Returns: The object id of the file that had the name, now without a row.
        Raises: StorageFull.
        """
        addition = _Addition(record)
        self._waiting.put(addition)
        with self._lock:
            if not addition.done:
                self._commit(self._take_waiting())
        if addition.error is not None:
            raise addition.error
        return addition.replaced

    def _take_waiting(self) -> list[_Addition]:
        batch = []
        try:
            while True:
                batch.append(self._waiting.get_nowait())
        except Empty:
            return batch

    def _commit(self, batch: list[_Addition]) -> None:
        error: Exception | None = None
        try:
            self._sync_files()
            self._database.execute("BEGIN IMMEDIATE")
            for addition in batch:
                addition.replaced = self._replace(addition.record)
            self._database.execute("COMMIT")
        except Exception as caught:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            error = caught
            if isinstance(caught, sqlite3.OperationalError) and caught.sqlite_errorcode == sqlite3.SQLITE_FULL:
                error = StorageFull("no space left for the file")
        for addition in batch:
            addition.error = error
            addition.done = True

    def _replace(self, record: FileRecord) -> str | None:
        row = self._database.execute("SELECT object_id FROM files WHERE name = ?", (record.name,)).fetchone()
        values = (record.object_id, record.name, record.size, record.sha256, record.created_ns)
        self._database.execute(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", values)
        return None if row is None else str(row[0])

    def find(self, key: FileKey) -> FileRecord:
        """Return one record. Raises FileUnknown."""
        column, value = ("object_id", key.object_id) if key.object_id else ("name", key.name)
        with self._lock:
            row = self._database.execute(f"SELECT {_COLUMNS} FROM files WHERE {column} = ?", (value,)).fetchone()
        if row is None:
            raise FileUnknown(f"no file has this {column}")
        return FileRecord(*row)

    def page(self, prefix: str, after: str, limit: int) -> list[FileRecord]:
        """Return at most ``limit`` records, in the byte order of their names, that begin with ``prefix`` and follow ``after``."""
        query = f"SELECT {_COLUMNS} FROM files WHERE name >= ? AND name > ? ORDER BY name LIMIT ?"
        with self._lock:
            rows = self._database.execute(query, (prefix, after, limit)).fetchall()
        return [record for record in (FileRecord(*row) for row in rows) if record.name.startswith(prefix)]

    def object_ids(self) -> set[str]:
        """Return the object ids of all files."""
        with self._lock:
            return {row[0] for row in self._database.execute("SELECT object_id FROM files")}

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()
