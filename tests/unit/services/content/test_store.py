from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from quicrpc.services.content.domain import DamagedFile, FileKey, FileUnknown, InvalidRequest
from quicrpc.services.content.store import FileStore


@pytest.fixture
def store(tmp_path):
    store = FileStore(tmp_path, now_ns=lambda: 1_700_000_000_000_000_007)
    yield store
    store.close()


def put(store, name, body):
    return store.upload(name, len(body)).finish([body], hashlib.sha256(body).digest())


def read(store, key, **part):
    download = store.download(key, **part)
    try:
        pieces = [download.read_next()]
        while not download.ended:
            pieces.append(download.read_next())
    finally:
        download.close()
    return b"".join(pieces)


def objects(directory):
    return sorted(path.name for path in (directory / "objects").iterdir())


def test_a_stored_file(store, tmp_path):
    record = put(store, "a/b", b"abc")
    assert record.created_ns == 1_700_000_000_000_000_007
    assert objects(tmp_path) == [record.object_id]
    assert (tmp_path / "objects" / record.object_id).stat().st_mode & 0o777 == 0o600
    assert store.find(FileKey(name="a/b")) == store.find(FileKey(object_id=record.object_id)) == record
    assert read(store, FileKey(name="a/b")) == b"abc"


def test_files_survive_a_restart(tmp_path):
    store = FileStore(tmp_path)
    record = put(store, "f", b"abc")
    store.close()
    store = FileStore(tmp_path)
    assert store.find(FileKey(name="f")) == record
    assert read(store, FileKey(name="f")) == b"abc"
    store.close()


def test_an_upload_is_invisible_until_it_is_finished(store, tmp_path):
    upload = store.upload("f", 3)
    assert objects(tmp_path) == []
    upload.write([b"ab"])
    assert [name.endswith(".part") for name in objects(tmp_path)] == [True]
    with pytest.raises(FileUnknown):
        store.find(FileKey(name="f"))
    upload.discard()
    upload.discard()
    assert objects(tmp_path) == [] and upload.ended
    with pytest.raises(ValueError, match="ended"):
        upload.write([b"c"])


def test_a_finished_upload_cannot_be_discarded(store, tmp_path):
    upload = store.upload("f", 0)
    upload.finish([], hashlib.sha256(b"").digest())
    upload.discard()
    assert len(objects(tmp_path)) == 1


def test_a_replaced_file_can_be_read_to_its_end(store):
    put(store, "f", b"a" * 600_000)
    download = store.download(FileKey(name="f"))
    first = download.read_next()
    put(store, "f", b"new")
    assert first + download.read_next() == b"a" * 600_000
    download.close()


def test_what_a_killed_process_left_is_removed(tmp_path):
    store = FileStore(tmp_path)
    record = put(store, "f", b"abc")
    store.close()
    (tmp_path / "objects" / ("0" * 32)).write_bytes(b"renamed, but not in the catalogue")
    (tmp_path / "objects" / ("1" * 32 + ".part")).write_bytes(b"half")
    FileStore(tmp_path).close()
    assert objects(tmp_path) == [record.object_id]


def test_a_second_process_leaves_uploads_of_the_first_alone(store, tmp_path):
    upload = store.upload("f", 3)
    upload.write([b"ab"])
    second = FileStore(tmp_path)
    record = upload.finish([b"c"], hashlib.sha256(b"abc").digest())
    assert second.find(FileKey(name="f")) == record
    assert read(second, FileKey(name="f")) == b"abc"
    second.close()


KILLED = """
import hashlib, itertools, os, pathlib, sys, threading
from quicrpc.services.content.store import FileStore
store = FileStore(pathlib.Path(sys.argv[1]))
def put(worker):
    for number in itertools.count():
        name, body = f"{worker}/{number}", b"%d" % number * 1000
        store.upload(name, len(body)).finish([body], hashlib.sha256(body).digest())
        os.write(1, name.encode() + b"\\n")
for worker in range(4):
    threading.Thread(target=put, args=(worker,)).start()
"""


@pytest.mark.parametrize("lines", [1, 20, 100])
def test_every_acknowledged_file_survives_kill_9(tmp_path, lines):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    store = FileStore(tmp_path)
    for name in acknowledged:
        assert read(store, FileKey(name=name)) == name.split("/")[1].encode() * 1000
    assert set(objects(tmp_path)) == {record.object_id for record in store.page("", "", 100_000)}
    store.close()


def test_threads_may_upload_at_the_same_time(store):
    names = [f"{number}" for number in range(40)]
    threads = [threading.Thread(target=put, args=(store, name, name.encode())) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {record.name for record in store.page("", "", 100)} == set(names)
    assert all(read(store, FileKey(name=name)) == name.encode() for name in names)


def test_pages_compare_text_not_patterns(store):
    for name in ("a%b", "a_b", "axb", "a"):
        put(store, name, b"")
    assert [record.name for record in store.page("a%", "", 10)] == ["a%b"]
    assert [record.name for record in store.page("", "a", 2)] == ["a%b", "a_b"]


def test_an_object_that_is_a_link_is_not_followed(store, tmp_path):
    record = put(store, "f", b"abc")
    secret = tmp_path / "secret"
    secret.write_bytes(b"abc")
    path = tmp_path / "objects" / record.object_id
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        read(store, FileKey(name="f"))


def test_a_stored_file_that_was_cut_or_lost_is_noticed(store, tmp_path):
    record = put(store, "f", b"abc")
    path = tmp_path / "objects" / record.object_id
    os.truncate(path, 1)
    with pytest.raises(DamagedFile, match="incomplete"):
        read(store, FileKey(name="f"))
    path.unlink()
    with pytest.raises(DamagedFile, match="missing"):
        read(store, FileKey(name="f"))


def test_a_failing_commit_leaves_neither_row_nor_file(store, tmp_path):
    blocker = sqlite3.connect(tmp_path / "catalogue.sqlite3")
    blocker.execute("DROP TABLE files")
    blocker.close()
    upload = store.upload("f", 3)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        upload.finish([b"abc"], hashlib.sha256(b"abc").digest())
    upload.discard()
    assert objects(tmp_path) == []


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path):
    FileStore(tmp_path).close()
    database = sqlite3.connect(tmp_path / "catalogue.sqlite3")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(OSError, match="newer version"):
        FileStore(tmp_path)


@pytest.mark.parametrize("name", ["", "/a", "a/../b"])
def test_illegal_names_do_not_reach_the_disk(store, tmp_path, name):
    with pytest.raises(InvalidRequest):
        store.upload(name, 0)
    with pytest.raises(InvalidRequest):
        store.download(FileKey(name=name))
    assert objects(tmp_path) == []


def test_usable(store):
    assert store.is_usable()
