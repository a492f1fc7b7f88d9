"""The echo family as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc.aio

from quicrpc.gen.echo import echo_pb2, echo_pb2_grpc

from .handlers import Echo

__all__ = ["DESCRIPTORS", "install"]

DESCRIPTORS = (echo_pb2.DESCRIPTOR,)


def install(server: grpc.aio.Server, data_dir: Path) -> Callable[[], None]:
    """Add ``echo.Echo`` to ``server``. It keeps nothing, so ``data_dir`` is not used and nothing is to be closed."""
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    return lambda: None
