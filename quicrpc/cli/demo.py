"""``quicrpc demo``: a real directory tree there and back, over HTTP/3 and over HTTP/2, with every byte compared."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import statistics
import sys
import sysconfig
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc.aio
import typer
from rich.console import Console
from rich.table import Table

import quicrpc.aio
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.services.content.client import ContentClient, tree_files

from .certs import write_certificates
from .connect import Transport, open_channel, run
from .failure import fail

__all__ = ["demo"]

#: Derived files and other people's packages, not the library itself.
_SKIP = ("__pycache__", "site-packages")
_CALLS = 1000
_CALLS_IN_FLIGHT = 32
_CONNECTIONS = 10
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table."""

    step: str
    wire: str
    seconds: float
    rate: str
    right: bool


def demo(
    tree: Annotated[Path | None, typer.Option(help="Directory to copy; Python's standard library if not given.")] = None,
    in_flight: Annotated[int, typer.Option(min=1, max=100, help="Files on the way at the same time.")] = 32,
) -> None:
    """Start a server, copy a directory tree up and back over HTTP/3 and HTTP/2, and compare every byte.

    Then the same calls over both, and a connection resumed with 0-RTT. Exits with 1 if anything differs.
    """
    root = (tree or Path(sysconfig.get_path("stdlib"))).resolve()
    if not root.is_dir():
        fail(f"{root} is no directory")
    title, rows = run(_demo(root, in_flight))
    Console().print(_table(title, rows))
    if not all(row.right for row in rows):
        fail("something is not as it should be: see the table")


async def _demo(root: Path, in_flight: int) -> tuple[str, list[_Row]]:
    console = Console(stderr=True)
    rows: list[_Row] = []
    with tempfile.TemporaryDirectory(prefix="quicrpc-demo-") as name:
        directory = Path(name)
        console.print(f"reading {root} ...")
        expected = await asyncio.to_thread(_digests, root)
        await asyncio.to_thread(write_certificates, directory / "certs", ["localhost", "127.0.0.1"], "demo", 1, force=False)
        async with _server(directory) as target:
            ca = directory / "certs" / "ca.pem"
            for transport in (Transport.h3, Transport.h2):
                async with open_channel(target, transport, ca) as channel:
                    console.print(f"copying {len(expected)} files over {transport.value} ...")
                    wire = await _wire(channel, target, ca)
                    rows += await _copy(channel, wire, root, directory / transport.value, expected, in_flight)
                    console.print(f"calling over {transport.value} ...")
                    rows += await _call(channel, wire)
            rows += await _resume(target, ca)
    total_bytes = sum(size for size, _ in expected.values())
    return f"{len(expected)} files, {total_bytes / 1e6:.1f} MB, of {root}", rows


@asynccontextmanager
async def _server(directory: Path) -> AsyncIterator[str]:
    """Run ``quicrpc serve`` as a child process and yield its host:port."""
    certs = directory / "certs"
    files = ("--cert", certs / "server.pem", "--key", certs / "server.key", "--data-dir", directory / "data")
    command = [sys.executable, "-m", "quicrpc", "serve", "--port", "0", "--log-level", "WARNING", *map(str, files)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield await _address(process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()


async def _address(process: Process) -> str:
    assert process.stdout is not None  # it was asked to be a pipe
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
    except TimeoutError:
        fail("the server did not start")
    found = re.search(r" on (\S+:\d+) ", line)
    if found is None:
        fail("the server did not start")
    return found[1]


def _digests(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return size and SHA-256 of each file below ``root`` by its path inside it."""
    files = {}
    for path, name in tree_files(root, "tree", skip=_SKIP):
        body = path.read_bytes()
        files[name.removeprefix("tree/")] = (len(body), hashlib.sha256(body).digest())
    return files


async def _copy(
    channel: grpc.aio.Channel, wire: str, root: Path, copy: Path, expected: dict[str, tuple[int, bytes]], in_flight: int
) -> list[_Row]:
    """Send the tree, fetch it into ``copy`` and compare."""
    client, prefix = ContentClient(channel), copy.name
    started = time.perf_counter()
    await client.upload_all(tree_files(root, prefix, skip=_SKIP), in_flight=in_flight)
    sent = time.perf_counter()
    files = [(info, copy / info.name.removeprefix(f"{prefix}/")) async for info in client.files(f"{prefix}/")]
    stored = {info.name.removeprefix(f"{prefix}/"): (info.size, info.sha256) for info, _ in files}
    listed = time.perf_counter()
    await client.download_all(files, in_flight=in_flight)
    fetched = time.perf_counter()
    received = await asyncio.to_thread(_digests, copy)
    total_bytes = sum(size for size, _ in expected.values())

    def row(step: str, seconds: float, right: bool) -> _Row:
        return _Row(step, wire, seconds, f"{total_bytes / seconds / 1e6:.1f} MB/s", right)

    return [row("upload", sent - started, stored == expected), row("download", fetched - listed, received == expected)]


async def _call(channel: grpc.aio.Channel, wire: str) -> list[_Row]:
    """Make many small calls, several at a time, and compare each answer."""
    stub = echo_pb2_grpc.EchoStub(channel)
    numbers = iter(range(_CALLS))
    wrong = 0

    async def worker() -> None:
        nonlocal wrong
        for number in numbers:
            request = EchoMessage(body=hashlib.sha256(number.to_bytes(4, "big")).digest())
            wrong += (await stub.Unary(request)) != request

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CALLS_IN_FLIGHT):
            group.create_task(worker())
    seconds = time.perf_counter() - started
    rate = f"{_CALLS / seconds:.0f} calls/s"
    return [_Row(f"{_CALLS} unary calls", wire, seconds, rate, wrong == 0)]


async def _resume(target: str, ca: Path) -> list[_Row]:
    """Time the first call of new connections: with a whole handshake, and resumed with the call in the first flight (0-RTT)."""
    rows = []
    for early in (False, True):
        request, times, right, wire = EchoMessage(body=b"first"), [], True, ""
        for _ in range(_CONNECTIONS):
            async with open_channel(target, Transport.h3, ca, options=[("quicrpc.early_data", int(early))]) as channel:
                started = time.perf_counter()
                answer = await echo_pb2_grpc.EchoStub(channel).Unary(request)
                times.append(time.perf_counter() - started)
                info = channel.connection_info()
                right = right and answer == request and info is not None and info.early_data_accepted == early
                wire = await _wire(channel, target, ca)
        step = f"{_CONNECTIONS} first calls, {'0-RTT' if early else 'handshake'}"
        rate = f"{statistics.median(times) * 1000:.1f} ms median"
        rows.append(_Row(step, wire, sum(times), rate, right))
    return rows


async def _wire(channel: quicrpc.aio.Channel, target: str, ca: Path) -> str:
    """Return what the calls of ``channel`` use, as both sides agreed in the handshake."""
    plain_channel: grpc.aio.Channel = channel
    call = echo_pb2_grpc.EchoStub(plain_channel).Unary(EchoMessage())
    await call
    info = channel.connection_info()
    if quicrpc.aio.transport_of(call) == "h3" and info is not None:
        return f"{info.alpn}, QUIC v{info.quic_version}"
    # grpcio does not tell what it agreed on: ask the same port once more.
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    connection = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return f"{connection.selected_alpn_protocol()}, {connection.version()}"


def _table(title: str, rows: list[_Row]) -> Table:
    table = Table(title=title)
    table.add_column("step")
    table.add_column("on the wire")
    table.add_column("time", justify="right")
    table.add_column("rate", justify="right")
    table.add_column("answers")
    for row in rows:
        right = "[green]all right[/]" if row.right else "[red]WRONG[/]"
        table.add_row(row.step, row.wire, f"{row.seconds:.3f} s", row.rate, right)
    return table
