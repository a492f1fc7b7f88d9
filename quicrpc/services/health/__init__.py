"""The standard ``grpc.health.v1.Health`` service.

Owns: which services are reported as serving. May import: grpcio-health-checking. Never: another family.
Tested by: ``tests/services/test_health.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME, aio

__all__ = ["SERVICE_NAME", "HealthService"]


class HealthService:
    """Reports each service of a server, and ``""`` for the server as a whole, as SERVING until it drains."""

    def __init__(self, server: grpc.aio.Server) -> None:
        """Add the servicer to ``server``, which must not be started yet."""
        self._servicer = aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, services: Iterable[str]) -> None:
        """Report these services, by full name, as SERVING."""
        for service in ("", SERVICE_NAME, *services):
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Report every service as NOT_SERVING from now on, so that load balancers send no new calls."""
        await self._servicer.enter_graceful_shutdown()
