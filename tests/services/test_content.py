from __future__ import annotations

import asyncio
import hashlib
import os
import resource

import grpc
import grpc.aio
import pytest

from quicrpc.gen.content import content_pb2, content_pb2_grpc
from quicrpc.gen.content.content_pb2 import (
    DownloadRequest,
    FileChunk,
    FileInfo,
    HealthCheckRequest,
    ListFilesRequest,
    StatFileRequest,
)
from quicrpc.services.content import family
from quicrpc.services.content.client import ContentClient, tree_files
from quicrpc.services.content.domain import DamagedFile, InvalidRequest

MIB = 1024 * 1024


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def channel(serve, data_dir):
    closers = []
    yield await serve(lambda server: closers.append(family.install(server, data_dir)))
    closers[0]()


@pytest.fixture
def stub(channel):
    return content_pb2_grpc.StreamingServiceStub(channel)


@pytest.fixture
def client(channel):
    return ContentClient(channel)


def chunks(name, *pieces, size=None, sha256=None):
    """The messages of an upload; size and checksum are the right ones unless given."""
    body = b"".join(pieces)
    info = FileInfo(name=name, size=len(body) if size is None else size)
    digest = hashlib.sha256(body).digest() if sha256 is None else sha256
    messages = [FileChunk(data=piece) for piece in pieces]
    messages[0].file.CopyFrom(info)
    messages[-1].sha256 = digest
    return messages


def on_disk(data_dir):
    return sorted(path.name for path in (data_dir / "objects").iterdir())


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def body_of(stub, request):
    return b"".join([chunk.data async for chunk in stub.DownloadFile(request)])


@pytest.mark.parametrize(
    "pieces", [(b"",), (b"x",), (b"ab", b"", b"c"), (os.urandom(MIB),) * 5], ids=["empty", "one byte", "three chunks", "5 MiB"]
)
async def test_a_file_comes_back_as_it_was(stub, data_dir, pieces):
    body = b"".join(pieces)
    stored = (await stub.UploadFile(chunks("a/b.txt", *pieces))).file
    assert (stored.name, stored.size, stored.sha256) == ("a/b.txt", len(body), hashlib.sha256(body).digest())
    assert on_disk(data_dir) == [stored.object_id]
    assert await body_of(stub, DownloadRequest(name="a/b.txt")) == body
    assert await body_of(stub, DownloadRequest(object_id=stored.object_id)) == body
    assert await stub.StatFile(StatFileRequest(name="a/b.txt")) == stored


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, b"0123456789"), (4, None, b"456789"), (4, 3, b"456"), (0, 0, b""), (8, 100, b"89"), (10, None, b"")],
)
async def test_a_part_of_a_file(stub, offset, length, expected):
    await stub.UploadFile(chunks("digits", b"0123456789"))
    assert await body_of(stub, DownloadRequest(name="digits", offset=offset, length=length)) == expected


async def test_the_first_chunk_of_a_download_describes_the_whole_file(stub):
    stored = (await stub.UploadFile(chunks("digits", b"0123456789"))).file
    first = await stub.DownloadFile(DownloadRequest(name="digits", offset=9)).read()
    assert (first.file, first.data) == (stored, b"9")


async def test_an_offset_past_the_end_is_out_of_range(stub):
    await stub.UploadFile(chunks("digits", b"0123456789"))
    call = stub.DownloadFile(DownloadRequest(name="digits", offset=11)).read()
    assert await failure(call) is grpc.StatusCode.OUT_OF_RANGE


BAD_UPLOADS = {
    "wrong checksum": (chunks("f", b"abc", sha256=bytes(32)), grpc.StatusCode.DATA_LOSS),
    "short checksum": (chunks("f", b"abc", sha256=b"abc"), grpc.StatusCode.INVALID_ARGUMENT),
    "no checksum": (chunks("f", b"abc", sha256=b""), grpc.StatusCode.INVALID_ARGUMENT),
    "fewer bytes than announced": (chunks("f", b"abc", size=4), grpc.StatusCode.DATA_LOSS),
    "more bytes than announced": (chunks("f", b"abc", b"d" * MIB, size=3), grpc.StatusCode.DATA_LOSS),
    "cut after the first chunk": (chunks("f", b"a" * MIB, b"b" * MIB)[:1], grpc.StatusCode.DATA_LOSS),
    "a size no file has": (chunks("f", b"abc", size=2**64 - 1), grpc.StatusCode.INVALID_ARGUMENT),
    "no chunk": ([], grpc.StatusCode.INVALID_ARGUMENT),
    "no file in the first chunk": ([FileChunk(data=b"abc", sha256=bytes(32))], grpc.StatusCode.INVALID_ARGUMENT),
    "file in a later chunk": ([*chunks("f", b"a" * MIB), *chunks("g", b"b")], grpc.StatusCode.INVALID_ARGUMENT),
    "a chunk after the last": ([*chunks("f", b"a"), FileChunk(data=b"b")], grpc.StatusCode.INVALID_ARGUMENT),
    "illegal name": (chunks("../f", b"abc"), grpc.StatusCode.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("case", BAD_UPLOADS)
async def test_a_bad_upload_fails_and_leaves_nothing(stub, data_dir, case):
    messages, code = BAD_UPLOADS[case]
    assert await failure(stub.UploadFile(messages)) is code
    assert on_disk(data_dir) == []
    assert not (await stub.ListFiles(ListFilesRequest())).files


async def test_a_cancelled_upload_leaves_nothing(stub, data_dir):
    written = asyncio.Event()

    async def endless():
        for message in chunks("f", b"a" * MIB, b"b" * MIB, b"c" * MIB)[:2]:
            yield message
        written.set()
        await asyncio.Event().wait()

    call = stub.UploadFile(endless())
    await written.wait()
    async with asyncio.timeout(10):
        while not on_disk(data_dir):  # noqa: ASYNC110  # a disk has no event to wait for
            await asyncio.sleep(0)
        call.cancel()
        while on_disk(data_dir):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_full_disk_is_resource_exhausted(stub, data_dir):
    # The limit on a file's size fails a write just as a full disk does, and needs no privilege.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    try:
        code = await failure(stub.UploadFile(chunks("f", *[b"a" * MIB] * 4)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert on_disk(data_dir) == []


async def test_an_upload_replaces_the_file_of_that_name(stub, data_dir):
    old = (await stub.UploadFile(chunks("f", b"old"))).file
    new = (await stub.UploadFile(chunks("f", b"new"))).file
    assert await body_of(stub, DownloadRequest(name="f")) == b"new"
    assert on_disk(data_dir) == [new.object_id]
    request = StatFileRequest(object_id=old.object_id)
    assert await failure(stub.StatFile(request)) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_message", "code"),
    [
        (StatFileRequest(name="none"), grpc.StatusCode.NOT_FOUND),
        (StatFileRequest(object_id="0" * 32), grpc.StatusCode.NOT_FOUND),
        (StatFileRequest(object_id="../catalogue.sqlite3"), grpc.StatusCode.INVALID_ARGUMENT),
        (StatFileRequest(name="/etc/passwd"), grpc.StatusCode.INVALID_ARGUMENT),
        (StatFileRequest(), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["unknown name", "unknown object", "object id that is a path", "absolute path", "no key"],
)
async def test_files_that_cannot_be_found(stub, request_message, code):
    assert await failure(stub.StatFile(request_message)) is code
    download = DownloadRequest.FromString(request_message.SerializeToString())  # the key's fields have the same numbers
    assert await failure(stub.DownloadFile(download).read()) is code


async def test_pages_list_each_file_once_in_order(stub, client):
    names = ["a", "b/1", "b/2", "b/é", "b0", "c"]
    for name in reversed(names):
        await stub.UploadFile(chunks(name, name.encode()))
    assert [info.name async for info in client.files()] == names
    assert [info.name async for info in client.files("b/")] == ["b/1", "b/2", "b/é"]
    page = await stub.ListFiles(ListFilesRequest(prefix="b", page_size=2))
    assert [info.name for info in page.files] == ["b/1", "b/2"]
    page = await stub.ListFiles(ListFilesRequest(prefix="b", page_size=2, page_token=page.next_page_token))
    assert ([info.name for info in page.files], page.next_page_token) == (["b/é", "b0"], "")


@pytest.mark.parametrize(
    ("service", "status"),
    [("", "SERVING"), ("sky_genesis.StreamingService", "SERVING"), ("sky_genesis.Health", "SERVING"), ("other", "UNKNOWN")],
)
async def test_health(channel, service, status):
    response = await content_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest(service=service))
    assert content_pb2.HealthCheckResponse.ServingStatus.Name(response.status) == status


async def test_a_tree_comes_back_as_it_was(client, tmp_path):
    source = tmp_path / "source"
    files = {"a.txt": b"a", "empty": b"", "deep/er/b.bin": os.urandom(2 * MIB + 1), "deep/ümlaut.txt": b"u", "skip/c": b"c"}
    for name, body in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    sent, received = [], []
    await client.upload_all(tree_files(source, "tree", skip={"skip"}), in_flight=3, on_bytes=sent.append)
    copy = tmp_path / "copy"
    found = [(info, copy / info.name) async for info in client.files("tree/")]
    await client.download_all(found, in_flight=3, on_bytes=received.append)
    del files["skip/c"]
    assert {name: (copy / "tree" / name).read_bytes() for name in files} == files
    assert sum(sent) == sum(received) == sum(map(len, files.values()))
    assert len([path for path in copy.rglob("*") if path.is_file()]) == len(files)


async def test_a_download_goes_on_from_the_bytes_it_has(client, stub, tmp_path):
    body = os.urandom(3 * MIB)
    info = (await stub.UploadFile(chunks("big", body[:MIB], body[MIB:]))).file
    (tmp_path / f"copy.{info.object_id}.part").write_bytes(body[: 2 * MIB])
    received = []
    await client.download(info, tmp_path / "copy", received.append)
    assert (tmp_path / "copy").read_bytes() == body
    assert received[0] == 2 * MIB and sum(received) == 3 * MIB
    assert not list(tmp_path.glob("*.part"))


async def test_a_partial_file_with_other_bytes_is_noticed_and_removed(client, stub, tmp_path):
    info = (await stub.UploadFile(chunks("f", b"0123456789"))).file
    (tmp_path / f"copy.{info.object_id}.part").write_bytes(b"xyz")
    with pytest.raises(DamagedFile, match="checksum"):
        await client.download(info, tmp_path / "copy")
    assert not (tmp_path / "copy").exists() and not list(tmp_path.glob("*.part"))


async def test_one_failing_upload_of_many_is_the_error_of_all(client, tmp_path):
    (tmp_path / "f").write_bytes(b"f")
    with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
        await client.upload_all([(tmp_path / "f", "ok"), (tmp_path / "f", "not//ok")], in_flight=2)


def test_a_tree_with_a_file_that_has_no_legal_name(tmp_path):
    (tmp_path / "back\\slash").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="backslash"):
        tree_files(tmp_path, "tree")


def test_only_methods_that_may_be_replayed_are_marked_so():
    services = content_pb2.DESCRIPTOR.services_by_name.values()
    marked = {method.name for service in services for method in service.methods if method.GetOptions().idempotency_level == 1}
    assert marked == {"DownloadFile", "StatFile", "ListFiles", "Check"}


async def test_a_file_that_cannot_be_read_is_an_os_error(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        await client.upload(tmp_path / "none", "none")
