"""The servers that are compared. All serve ``echo.Echo`` over TLS 1.3 in one process and are started the same way.

A peer's program gets a certificate and a key, listens on a port of its own choice and prints a line with its address.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.programs import GO_MISSING, gopeers_program
from quicrpc.testing.certificates import CertificateAuthority

__all__ = ["PEERS", "Credentials", "Peer", "PeerFailed", "Server", "make_credentials", "start_peer"]

_ROOT = Path(__file__).parent.parent.parent
_START_TIMEOUT_S = 20.0
_ADDRESS = re.compile(rb"127\.0\.0\.1:\d+(?=\D)")


class PeerFailed(Exception):
    """A peer's program ended, or said nothing, instead of listening; the text is what it printed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files of a server, and of the authority its clients trust."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to measure.

    Attributes:
        protocol: What it is called over: ``h3`` or ``h2``.
        command: Makes its command line.
        missing: Why it cannot run here; None when it can.
    """

    name: str
    protocol: str
    command: Callable[[Credentials], list[str]]
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A running peer."""

    peer: Peer
    pid: int
    address: str


def make_credentials(directory: Path) -> Credentials:
    """Write a new authority and a server certificate for ``localhost`` and ``127.0.0.1`` (ECDSA P-256) into ``directory``."""
    authority = CertificateAuthority("quicrpc bench CA")
    server = authority.issue()
    credentials = Credentials(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    credentials.ca.write_bytes(authority.certificate_pem)
    credentials.certificate.write_bytes(server.certificate_chain)
    credentials.key.write_bytes(server.private_key)
    return credentials


@contextlib.contextmanager
def start_peer(peer: Peer, credentials: Credentials, child_setup: Callable[[], None] | None = None) -> Iterator[Server]:
    """Run a peer while the block runs. ``child_setup`` is called in the child before its program starts, to choose its cores."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            peer.command(credentials), cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT, preexec_fn=child_setup
        )
        try:
            deadline = time.monotonic() + _START_TIMEOUT_S
            while True:
                output.seek(0)
                printed = output.read()
                if match := _ADDRESS.search(printed):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PeerFailed(f"{peer.name}: {printed.decode(errors='replace').strip()}")
                time.sleep(0.02)
            yield Server(peer, process.pid, match[0].decode())
        finally:
            process.kill()
            process.wait()


def _quicrpc(credentials: Credentials) -> list[str]:
    files = ["--cert", str(credentials.certificate), "--key", str(credentials.key)]
    return [sys.executable, "-m", "quicrpc", "serve", "--family", "echo", "--host", "127.0.0.1", "--port", "0", *files]


def _python(module: str, *options: str) -> Callable[[Credentials], list[str]]:
    def command(credentials: Credentials) -> list[str]:
        files = ["--cert", str(credentials.certificate), "--key", str(credentials.key)]
        return [sys.executable, "-m", f"bench.peers.{module}", *files, *options]

    return command


def _go(kind: str) -> Callable[[Credentials], list[str]]:
    def command(credentials: Credentials) -> list[str]:
        return [str(gopeers_program()), "-kind", kind, "-cert", str(credentials.certificate), "-key", str(credentials.key)]

    return command


_GRPCLIB_MISSING = None if importlib.util.find_spec("grpclib") else "grpclib is not installed"

#: Name -> peer.
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("quicrpc-h3", "h3", _quicrpc),
        Peer("quicrpc-h2", "h2", _quicrpc),
        Peer("grpc.aio", "h2", _python("grpc_aio")),
        Peer("grpc.aio-uvloop", "h2", _python("grpc_aio", "--uvloop")),
        Peer("grpcio-sync", "h2", _python("grpcio_sync")),
        Peer("grpclib", "h2", _python("grpclib_echo"), _GRPCLIB_MISSING),
        Peer("quic-go", "h3", _go("quic-go"), GO_MISSING),
        Peer("go-net-http", "h2", _go("nethttp"), GO_MISSING),
        Peer("grpc-go", "h2", _go("grpc-go"), GO_MISSING),
    )
}
