"""Clients that share no code with quicrpc call ``quicrpc serve``: ``buf curl`` and our Go load client, over both transports."""

from __future__ import annotations

import json
import selectors
import shutil
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.programs import GO_MISSING, LoadOptions, run_load

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parent.parent.parent
BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
START_TIMEOUT_S = 20
TRANSPORTS = ("h3", "h2")


@dataclass(frozen=True, slots=True)
class Served:
    """A running ``quicrpc serve``."""

    address: str
    ca: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    quicrpc = [sys.executable, "-m", "quicrpc"]
    subprocess.run([*quicrpc, "certs", str(directory)], check=True, stdout=subprocess.DEVNULL)
    files = ["--cert", str(directory / "server.pem"), "--key", str(directory / "server.key")]
    process = subprocess.Popen(
        [*quicrpc, "serve", "--family", "echo", "--port", "0", "--data-dir", str(directory / "data"), *files],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(_first_address(process), directory / "ca.pem")
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=START_TIMEOUT_S)
    assert process.returncode == 0, said


def _first_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_TIMEOUT_S), "the server prints nothing"
    line = process.stdout.readline()
    port = line.partition("127.0.0.1:")[2].partition(" ")[0]
    assert port.isdigit(), line
    return f"localhost:{port}"


@pytest.mark.skipif(BUF is None, reason="buf is not installed (pip install buf-bin)")
class TestBufCurl:
    """``buf curl`` is connect-go on quic-go (HTTP/3) and Go's net/http (HTTP/2)."""

    def curl(self, served: Served, transport: str, method: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert BUF is not None
        flags = ["--http3"] if transport == "h3" else []
        return subprocess.run(
            [
                *(BUF, "curl", *flags, "--protocol", "grpc", "--schema", str(ROOT / "proto"), "--cacert", str(served.ca)),
                *arguments,
                f"https://{served.address}/echo.Echo/{method}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_unary(self, served: Served, transport: str) -> None:
        body = b64encode(b"hello").decode()
        done = self.curl(served, transport, "Unary", "--data", json.dumps({"body": body}))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"body": body}

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_server_stream(self, served: Served, transport: str) -> None:
        done = self.curl(served, transport, "Stream", "--data", '{"count": 3, "size": 2}')
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b64encode(bytes(2)).decode()) == 3

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_client_stream(self, served: Served, transport: str) -> None:
        done = self.curl(served, transport, "Collect", "--data", '{"body": "eHg="} {"body": "eQ=="}')
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"count": 2, "size": "3"}

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_status_and_its_text(self, served: Served, transport: str) -> None:
        done = self.curl(served, transport, "Stream", "--data", '{"count": 2000000}')
        error = json.loads(done.stderr)
        assert error["code"] == "invalid_argument"
        assert error["message"] == "count is at most 1000000 and size at most 4000000"

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_reflection(self, served: Served, transport: str) -> None:
        assert BUF is not None
        flags = ["--http3"] if transport == "h3" else []
        listed = subprocess.run(
            [
                *(BUF, "curl", *flags, "--protocol", "grpc", "--cacert", str(served.ca)),
                "--list-methods",
                f"https://{served.address}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "echo.Echo/Unary" in listed.stdout.split(), listed.stderr


@pytest.mark.skipif(GO_MISSING is not None, reason=str(GO_MISSING))
class TestGoClient:
    """Every response of every call is compared with what was sent."""

    @pytest.mark.parametrize("transport", TRANSPORTS)
    @pytest.mark.parametrize(
        "options",
        [
            LoadOptions("unary", connections=2, in_flight=8),
            LoadOptions("unary", connections=2, in_flight=2, body_bytes=0),
            LoadOptions("unary", connections=2, in_flight=2, body_bytes=1_000_000),
            LoadOptions("unary", connections=1, in_flight=2, metadata=(("x-custom", "value"),), grpc_timeout="5S"),
            LoadOptions("unary", connections=1, in_flight=2, fresh=True),
            LoadOptions("unary", connections=2, in_flight=8, rate=200),
            LoadOptions("stream", connections=2, in_flight=4, messages=50, body_bytes=5_000),
            LoadOptions("collect", connections=2, in_flight=4, messages=50, body_bytes=5_000),
            LoadOptions("bidi", connections=2, in_flight=4, messages=20, body_bytes=500),
            LoadOptions("pipelined", connections=2, in_flight=4, messages=50, body_bytes=5_000),
        ],
        ids=["small", "empty", "large", "metadata", "fresh", "open-loop", "stream", "collect", "bidi", "pipelined"],
    )
    def test_load(self, served: Served, transport: str, options: LoadOptions) -> None:
        started = time.monotonic()
        result = run_load(options, protocol=transport, address=served.address, ca=served.ca, seconds=0.3, warm_up_s=0)
        assert result["errors"] == 0, result["first_error"]
        assert result["calls"] > 0
        assert result["seconds"] < time.monotonic() - started
