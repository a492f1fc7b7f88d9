"""The HTTP/2 listener: grpcio itself, given the same handlers and interceptors. The only place on the server that runs grpcio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import grpc
from grpc import aio

from quicrpc.security.credentials import ServerCredentials

__all__ = ["H2Listener"]


class H2Listener:
    """A ``grpc.aio`` server on TCP.

    grpcio binds a port when it is added and cannot let go of a single one, so a failed port makes the whole server unusable.
    """

    def __init__(
        self,
        thread_pool: Executor | None,
        interceptors: Sequence[aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        maximum_concurrent_rpcs: int | None,
        compression: grpc.Compression | None,
    ) -> None:
        given = {name for name, _ in options}
        # With SO_REUSEPORT, grpcio's default, a port that is in use by another process would silently be shared with it.
        defaults = [] if "grpc.so_reuseport" in given else [("grpc.so_reuseport", 0)]
        self._server = aio.server(
            migration_thread_pool=thread_pool,
            interceptors=list(interceptors),
            options=[*options, *defaults],
            maximum_concurrent_rpcs=maximum_concurrent_rpcs,
            compression=compression,
        )
        self._has_ports = False

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Register generic handlers."""
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service_name: str, handlers: Any) -> None:
        """Register the methods of one service."""
        self._server.add_registered_method_handlers(service_name, handlers)

    def add_port(self, address: str, credentials: ServerCredentials | grpc.ServerCredentials | None) -> int:
        """Bind ``address``; without credentials in plain text. Returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on TCP {address}: the port is in use, or may not be bound, or the address is not of this host"
            ) from error
        self._has_ports = True
        return port

    async def start(self) -> None:
        """Accept calls, if there is a port."""
        if self._has_ports:
            await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Stop as ``grpc.aio.Server.stop`` does."""
        if self._has_ports:
            await self._server.stop(grace)
