"""Runs the Connect conformance suite (connectrpc.com/conformance) against ``python -m quicrpc.testing.conformance``.

The suite is a Go module: its programs are built once into a cache directory (``QUICRPC_CONFORMANCE_DIR``, else a folder of the
user's cache), and its messages are generated there too. Nothing of it is part of quicrpc.

The suite's runner does not schedule gRPC over HTTP/3, although its reference client and server speak it; ``http3_requests.py``
stands between the runner and the two programs and asks them for HTTP/3 instead of HTTP/2.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MISSING", "SuiteResult", "reference", "run_suite", "under_test"]

# 1.0.7 asks for a version of a module that cannot be had.
_MODULE = "connectrpc.com/conformance"
_VERSION = "v1.0.6"
_PROGRAMS = ("connectconformance", "referenceclient", "referenceserver")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_DIRECTORY = Path(os.environ.get("QUICRPC_CONFORMANCE_DIR") or _CACHE / "quicrpc-conformance")
_MESSAGES = _DIRECTORY / f"messages-{_VERSION}"
_SHIM = Path(__file__).parent / "http3_requests.py"
_FEATURES = """features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsH2c: false
  supportsTls: true
  supportsTlsClientCerts: true
  supportsTrailers: true
  supportsConnectGet: false
  supportsMessageReceiveLimit: true
"""

#: Why the suite cannot run here, or None.
MISSING = None if shutil.which("go") else "the suite is written in Go, and go is not installed"


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a run came to.

    Attributes:
        total, passed: Cases.
        failed: Names of the cases that failed, without the parts that say how they were run.
        output: Everything the runner printed.
    """

    total: int
    passed: int
    failed: frozenset[str]
    output: str


def _build() -> None:
    missing = [program for program in _PROGRAMS if not (_DIRECTORY / "bin" / program).exists()]
    if missing:
        packages = [f"{_MODULE}/cmd/{program}@{_VERSION}" for program in missing]
        subprocess.run(["go", "install", *packages], env={**os.environ, "GOBIN": str(_DIRECTORY / "bin")}, check=True)
    if not (_MESSAGES / "connectrpc" / "__init__.py").exists():
        _generate_messages()


def _generate_messages() -> None:
    found = subprocess.run(
        ["go", "mod", "download", "-json", f"{_MODULE}@{_VERSION}"], cwd=_DIRECTORY, capture_output=True, text=True, check=True
    )
    source = Path(json.loads(found.stdout)["Dir"]) / "proto"
    _MESSAGES.mkdir(parents=True, exist_ok=True)
    schemas = [path.relative_to(source).as_posix() for path in sorted(source.rglob("connectrpc/conformance/v1/*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={_MESSAGES}", *schemas]
    subprocess.run(command, cwd=source, check=True)
    # Packages with a file of their own: an installed one called connectrpc would otherwise hide them.
    for package in ("connectrpc/conformance/v1", "connectrpc/conformance", "connectrpc"):
        (_MESSAGES / package / "__init__.py").touch()


def under_test(role: str) -> list[str]:
    """Return the command of our program."""
    return [sys.executable, "-m", "quicrpc.testing.conformance", role]


def reference(role: str) -> list[str]:
    """Return the command of the suite's own program: connect-go, over quic-go or net/http."""
    return [str(_DIRECTORY / "bin" / f"reference{role}")]


def run_suite(
    scratch: Path, *, client: list[str] | None, server: list[str], http3: bool, skip: tuple[str, ...] = ()
) -> SuiteResult:
    """Run every gRPC case.

    Args:
        scratch: For the configuration.
        client: Command of the client; None: every client that the suite brings.
        server: Command of the server.
        http3: Over HTTP/3; ``client`` is needed.
        skip: Patterns of cases to leave out.
    """
    _build()
    configuration = scratch / "features.yaml"
    configuration.write_text(_FEATURES)
    command = [str(_DIRECTORY / "bin" / "connectconformance"), "--conf", str(configuration)]
    for pattern in skip:
        command += ["--skip", pattern]
    if client is None:
        command += ["--mode", "server", "--", *server]
    else:
        roles = {"client": client, "server": server}
        if http3:
            roles = {role: [sys.executable, str(_SHIM), role, *program] for role, program in roles.items()}
        command += ["--mode", "both", "--", *roles["client"], "----", *roles["server"]]
    path = os.pathsep.join([str(_MESSAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=110, check=False)
    output = done.stdout + done.stderr
    total = re.search(r"^Total cases: (\d+)$", output, re.MULTILINE)
    passed = re.search(r"^(\d+) passed, \d+ failed$", output, re.MULTILINE)
    assert total and passed, output[-4000:]
    failed = frozenset(_short_name(name) for name in re.findall(r"^FAILED: (.*):$", output, re.MULTILINE))
    return SuiteResult(int(total[1]), int(passed[1]), failed, output)


def _short_name(name: str) -> str:
    return "/".join(part for part in name.split("/") if ":" not in part)
