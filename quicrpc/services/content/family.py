"""The content family as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc.aio

from quicrpc.gen.content import content_pb2, content_pb2_grpc

from .handlers import Health, StreamingService
from .store import FileStore

__all__ = ["DESCRIPTORS", "install"]

DESCRIPTORS = (content_pb2.DESCRIPTOR,)


def install(server: grpc.aio.Server, data_dir: Path) -> Callable[[], None]:
    """Add ``sky_genesis.StreamingService`` and ``sky_genesis.Health`` to ``server``, with files below ``data_dir``."""
    store = FileStore(data_dir)
    content_pb2_grpc.add_StreamingServiceServicer_to_server(StreamingService(store), server)
    content_pb2_grpc.add_HealthServicer_to_server(Health(store), server)
    return store.close
