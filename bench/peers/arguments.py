"""The command line that the Python peers share."""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc

__all__ = ["announce", "parse_arguments", "server_credentials"]


def parse_arguments() -> argparse.Namespace:
    """Return ``cert`` and ``key`` (paths of PEM files) and ``uvloop`` (bool)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    return parser.parse_args()


def server_credentials(arguments: argparse.Namespace) -> grpc.ServerCredentials:
    """Return grpcio's credentials from the files."""
    return grpc.ssl_server_credentials([(arguments.key.read_bytes(), arguments.cert.read_bytes())])


def announce(port: int) -> None:
    """Print where the peer listens, for ``start_peer``."""
    print(f"listening on 127.0.0.1:{port}", flush=True)
