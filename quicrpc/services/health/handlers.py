"""Check, List and Watch on one table of statuses.

grpcio-health-checking gives the messages and the base class. Its own servicer writes to a watcher while it holds the lock that
setting a status needs, so one watcher that does not read would keep the server from draining.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME

__all__ = ["SERVICE_NAME", "HealthService"]

#: health.proto: a server may refuse to list more.
_MAX_LISTED = 100
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpcio-health-checking has no types
    """Reports each service of a server, and ``""`` for the server as a whole, until the server drains.

    The names of the methods that change statuses are those of ``grpc_health.v1.health.aio.HealthServicer``.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        """Add the servicer to ``server``, which must not be started yet."""
        self._statuses: dict[str, int] = {"": _SERVING, SERVICE_NAME: _SERVING}
        self._watchers: set[asyncio.Event] = set()
        self._draining = False
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    # ---- for the server's owner

    async def set(self, service: str, status: int) -> None:
        """Report ``service``, a full name or ``""``, with a ``HealthCheckResponse.ServingStatus``. Nothing while draining."""
        if not self._draining:
            self._statuses[service] = status
            self._notify()

    async def set_serving(self, services: Iterable[str]) -> None:
        """Report these services as SERVING."""
        for service in services:
            await self.set(service, _SERVING)

    async def enter_graceful_shutdown(self) -> None:
        """Report every service as NOT_SERVING from now on, so that load balancers send no new calls. Idempotent."""
        self._draining = True
        self._statuses = dict.fromkeys(self._statuses, _NOT_SERVING)
        self._notify()

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    # ---- methods

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Return the status of one service; NOT_FOUND if it was never set."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} is known")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Return the status of every service; RESOURCE_EXHAUSTED for more than 100 of them."""
        if len(self._statuses) > _MAX_LISTED:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"there are more than {_MAX_LISTED} services")
        listed = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return health_pb2.HealthListResponse(statuses=listed)

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        """Send the status of one service, and then each change of it; SERVICE_UNKNOWN as long as it was never set.

        A watcher that reads slowly may miss statuses in between, never the last one.
        """
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            last = None
            while True:
                changed.clear()
                status = self._statuses.get(request.service, _SERVICE_UNKNOWN)
                if status != last:
                    last = status
                    yield health_pb2.HealthCheckResponse(status=status)
                await changed.wait()
        finally:
            self._watchers.discard(changed)
