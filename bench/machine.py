"""What a result must say about where it was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

__all__ = ["describe_machine", "describe_versions"]

_ROOT = Path(__file__).parent.parent
_DISTRIBUTIONS = ("quicrpc", "aioquic", "pylsqpack", "cryptography", "grpcio", "grpclib", "protobuf", "uvloop")


def describe_machine() -> dict[str, object]:
    """Return processor, cores this process may use, kernel, and how busy the machine was before."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of everything that takes part: name -> version."""
    versions = {"python": platform.python_version(), "go": _output("go", "env", "GOVERSION")}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for path in sorted(Path(__file__).parent.glob("*/go.mod")):
        for line in path.read_text().splitlines():
            module, _, version = line.removeprefix("require").strip().partition(" ")
            if version.startswith("v") and "//" not in version:
                versions[module] = version
    # "+": the tree differs from that commit.
    changed = "+" if _output("git", "status", "--porcelain", "--untracked-files=no") else ""
    versions["commit"] = _output("git", "rev-parse", "--short", "HEAD") + changed
    return versions


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
