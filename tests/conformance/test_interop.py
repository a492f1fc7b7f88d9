"""gRPC's interoperability cases: ours against ours over both transports, and grpc-go's client against the HTTP/2 listener."""

from __future__ import annotations

import asyncio
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

import quicrpc
import quicrpc.aio
from quicrpc.gen.testing import test_pb2_grpc
from quicrpc.interop.cases import CASES, CaseFailed
from quicrpc.interop.service import TestService
from quicrpc.interop.soak import SoakOptions, soak
from quicrpc.testing.certificates import CertificateAuthority

AUTHORITY = CertificateAuthority()
_START_TIMEOUT_S = 20
#: grpcio's server cannot tell which messages were compressed, so it cannot refuse one that says it is and is not.
_CLIENT_COMPRESSED = {"client_compressed_unary", "client_compressed_streaming"}
_COMPRESSED = _CLIENT_COMPRESSED | {"server_compressed_unary", "server_compressed_streaming"}
_GO_VERSION = "v1.85.0"
_GO_CASES = sorted(CASES.keys() - _COMPRESSED)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = quicrpc.aio.server()
    test_pb2_grpc.add_TestServiceServicer_to_server(TestService(), server)
    leaf = AUTHORITY.issue()
    credentials = quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield port
    await server.stop(None)


def open_channel(port: int, transport: Any) -> Any:
    return quicrpc.aio.secure_channel(
        f"127.0.0.1:{port}", quicrpc.ssl_channel_credentials(AUTHORITY.certificate_pem), transport=transport
    )


@pytest.mark.parametrize("case", CASES)
async def test_over_http3(port: int, case: str) -> None:
    async with open_channel(port, "h3") as channel:
        await CASES[case](channel)


@pytest.mark.parametrize("case", sorted(CASES.keys() - _CLIENT_COMPRESSED))
async def test_over_http2(port: int, case: str) -> None:
    async with open_channel(port, "h2") as channel:
        await CASES[case](channel)


@pytest.mark.parametrize("transport", ["h3", "h2"])
@pytest.mark.parametrize("fresh_channels", [False, True], ids=["rpc_soak", "channel_soak"])
async def test_soak(port: int, transport: str, fresh_channels: bool) -> None:
    result = await soak(lambda: open_channel(port, transport), SoakOptions(), fresh_channels=fresh_channels)
    assert len(result.latencies_s) == 10
    assert not result.failures


async def test_a_soak_counts_what_goes_wrong(port: int) -> None:
    options = SoakOptions(iterations=2, max_failures=1, max_latency_s=0, request_size=1, response_size=1)
    with pytest.raises(CaseFailed, match="2 failures, 1 allowed"):
        await soak(lambda: open_channel(port, "h3"), options, fresh_channels=False)
    with pytest.raises(CaseFailed, match="0 of 2 calls"):
        await soak(lambda: open_channel(port, "h3"), replace(options, overall_timeout_s=0), fresh_channels=False)


class _Liar(TestService):
    """Answers with one byte less than asked for, and looks at nothing else."""

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        request.response_size -= 1
        request.ClearField("expect_compressed")
        return await super().UnaryCall(request, context)

    async def UnimplementedCall(self, request: Any, context: Any) -> Any:
        return request


@pytest.mark.parametrize("case", ["large_unary", "client_compressed_unary", "unimplemented_method"])
async def test_cases_fail_when_the_server_is_wrong(case: str) -> None:
    server = quicrpc.aio.server()
    test_pb2_grpc.add_TestServiceServicer_to_server(_Liar(), server)
    leaf = AUTHORITY.issue()
    port = server.add_secure_port(
        "127.0.0.1:0", quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)]), transport="h3"
    )
    await server.start()
    async with open_channel(port, "h3") as channel:
        with pytest.raises(CaseFailed):
            await CASES[case](channel)
    await server.stop(None)


async def test_a_server_that_is_not_there_fails_the_case() -> None:
    async with aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(aio.AioRpcError):
            await CASES["empty_unary"](channel)


# ---- the commands


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interop")
    leaf = AUTHORITY.issue()
    (path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    (path / "server.pem").write_bytes(leaf.certificate_chain)
    (path / "server.key").write_bytes(leaf.private_key)
    return path


@pytest.fixture(scope="module")
def served_port(directory: Path) -> Iterator[int]:
    files = ["--cert_file", str(directory / "server.pem"), "--key_file", str(directory / "server.key")]
    process = subprocess.Popen(
        [sys.executable, "-m", "quicrpc.interop", "server", "--port=0", *files], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(_START_TIMEOUT_S), "the server prints nothing"
        yield int(process.stdout.readline().rpartition(" ")[2])
    finally:
        process.terminate()
        process.communicate(timeout=_START_TIMEOUT_S)
    assert process.returncode == 0


def _client(directory: Path, port: int, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quicrpc.interop", "client", f"--server_port={port}", "--use_tls=true", "--use_test_ca=true"]
    return subprocess.run(
        [*command, f"--ca_file={directory / 'ca.pem'}", *flags], capture_output=True, text=True, timeout=60, check=False
    )


def test_all_cases_from_the_command_line(directory: Path, served_port: int) -> None:
    done = _client(directory, served_port, "--test_case=all", "--soak_iterations=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed ") == len(CASES) + 2


def test_a_failed_case_shows_in_the_exit_code(directory: Path, served_port: int) -> None:
    done = _client(directory, served_port, "--test_case=rpc_soak", "--soak_per_iteration_max_acceptable_latency_ms=0")
    assert done.returncode == 1
    assert "FAILED rpc_soak" in done.stdout


@pytest.fixture(scope="module")
def go_client() -> Path:
    if shutil.which("go") is None:
        pytest.skip("grpc-go's client is built with go, which is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quicrpc-conformance" / "interop"
    if not (cache / "client").exists():
        package = f"google.golang.org/grpc/interop/client@{_GO_VERSION}"
        subprocess.run(["go", "install", package], env={**os.environ, "GOBIN": str(cache)}, check=True)
    return cache / "client"


@pytest.mark.interop
@pytest.mark.parametrize("case", _GO_CASES)
async def test_grpc_go_against_the_http2_listener(go_client: Path, directory: Path, served_port: int, case: str) -> None:
    flags = ["--use_tls", "--use_test_ca", f"--ca_file={directory / 'ca.pem'}", "--server_host=127.0.0.1"]
    done = await asyncio.to_thread(
        subprocess.run,
        [str(go_client), *flags, f"--server_port={served_port}", f"--test_case={case}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
