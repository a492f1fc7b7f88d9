"""The Go programs: built when their sources are newer, run as child processes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GO_MISSING", "LoadFailed", "LoadOptions", "gopeers_program", "load_program", "run_load"]

_BENCH = Path(__file__).parent

#: Why the Go programs cannot be built; None when they can.
GO_MISSING = None if shutil.which("go") else "Go is not installed"


class LoadFailed(Exception):
    """The load client could not measure; its text says why."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to call and how often. See ``quicrpc-load -help``.

    Attributes:
        kind: ``unary``, ``stream`` (server to client), ``collect`` (client to server), ``bidi`` (ping-pong) or ``pipelined``.
        connections: Connections, each used for ``in_flight`` calls at a time.
        body_bytes: Bytes in each message's body.
        messages: Messages per streaming call.
        rate: Calls/s started whatever the answers do (open loop); 0: each call starts when the one before has ended.
        fresh: Make a new connection for every call.
        metadata: Custom metadata sent with every call.
        grpc_timeout: ``grpc-timeout`` header, such as ``500m``; empty for none.
    """

    kind: str = "unary"
    connections: int = 4
    in_flight: int = 32
    body_bytes: int = 32
    messages: int = 1
    rate: float = 0
    fresh: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    grpc_timeout: str = ""

    def arguments(self) -> list[str]:
        """Return them as the load client's command line."""
        arguments = [f"-k={self.kind}", f"-c={self.connections}", f"-s={self.in_flight}"]
        arguments += [f"-z={self.body_bytes}", f"-n={self.messages}", f"-rate={self.rate}", f"-fresh={str(self.fresh).lower()}"]
        arguments += [f"-H={name}: {value}" for name, value in self.metadata]
        if self.grpc_timeout:
            arguments.append(f"-timeout={self.grpc_timeout}")
        return arguments


def load_program() -> Path:
    """Return the load client, built first if need be."""
    return _build("load", "quicrpc-load")


def gopeers_program() -> Path:
    """Return the server with the Go peers, built first if need be."""
    return _build("gopeers", "quicrpc-gopeers")


def run_load(
    options: LoadOptions,
    *,
    protocol: str,
    address: str,
    ca: Path,
    seconds: float,
    warm_up_s: float,
    server_pid: int = 0,
    child_setup: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run the load client once.

    Args:
        protocol: ``h3`` or ``h2``.
        address: ``host:port``.
        ca: PEM file with the authority of the server's certificate.
        seconds: Measured time; ``warm_up_s`` comes before it.
        server_pid: Process whose CPU and memory are measured; 0 for none.
        child_setup: Called in the child before the program starts, to choose its cores.
    Returns: The client's JSON line (its names carry the units); ``errors`` counts bad calls.
    Raises: LoadFailed: the client could not connect, or its warm-up saw an error.
    """
    command: Sequence[str] = [
        str(load_program()),
        *("-p", protocol, "-a", address, "-ca", str(ca), "-pid", str(server_pid)),
        *("-d", f"{seconds}s", "-w", f"{warm_up_s}s"),
        *options.arguments(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=child_setup)
    if not done.stdout:
        raise LoadFailed(done.stderr.strip() or f"exit code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _build(folder: str, name: str) -> Path:
    source, program = _BENCH / folder, _BENCH / "bin" / name
    newest = max(path.stat().st_mtime for path in source.iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=source, check=True)
    return program
