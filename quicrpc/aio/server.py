"""``quicrpc.aio.server()``: one set of servicers behind an HTTP/3 and an HTTP/2 listener."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Literal

import grpc
from grpc import aio

from quicrpc.quic.engine import DatagramLink, EndpointOptions
from quicrpc.quic.udp import UdpLink
from quicrpc.security.credentials import ServerCredentials
from quicrpc.server.dispatch import Dispatcher
from quicrpc.server.drain import drain
from quicrpc.server.handlers import HandlerTable
from quicrpc.server.listener_h2 import H2Listener
from quicrpc.server.listener_h3 import H3Listener
from quicrpc.server.options import ServerOptions, parse_server_options
from quicrpc.transport.engines import create_endpoint, create_ticket_store
from quicrpc.transport.links import NotifyingLink
from quicrpc.wire.compression import compression_name

__all__ = ["Server", "server"]

Transport = Literal["both", "h3", "h2"]

#: Free UDP ports tried for one whose number is free for TCP too, when the caller asks for port 0.
_PORT_ATTEMPTS = 32


class Server(aio.Server):
    """Serves RPCs over HTTP/3 and HTTP/2. Created with :func:`server`; use it on one event loop only."""

    def __init__(
        self,
        thread_pool: Executor | None,
        generic_handlers: Sequence[grpc.GenericRpcHandler] | None,
        interceptors: Sequence[aio.ServerInterceptor] | None,
        options: Sequence[tuple[str, Any]] | None,
        maximum_concurrent_rpcs: int | None,
        compression: grpc.Compression | None,
    ) -> None:
        invalid = [interceptor for interceptor in interceptors or () if not isinstance(interceptor, aio.ServerInterceptor)]
        if invalid:
            raise ValueError(f"Interceptor must be ServerInterceptor, the following are invalid: {invalid}")
        self._options: ServerOptions = parse_server_options(options or ())
        self._interceptors = tuple(interceptors or ())
        self._thread_pool = thread_pool
        self._maximum_concurrent_rpcs = maximum_concurrent_rpcs
        self._compression = compression
        self._handlers = HandlerTable()
        self._ticket_store = create_ticket_store()
        self._h2 = H2Listener(thread_pool, self._interceptors, options or (), maximum_concurrent_rpcs, compression)
        self._bound: list[tuple[DatagramLink, ServerCredentials]] = []
        self._listeners: list[H3Listener] = []
        self._dispatcher: Dispatcher | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stop_deadline: float | None = None
        self._stopped: asyncio.Event = asyncio.Event()
        if generic_handlers:
            self.add_generic_rpc_handlers(generic_handlers)

    # ---- handlers

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Register generic handlers with both listeners. Before ``start``."""
        handlers = list(generic_rpc_handlers)
        self._handlers.add_generic(handlers)
        self._h2.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Register one service's methods with both listeners. Called by generated code; before ``start``."""
        self._handlers.add_registered(service_name, method_handlers)
        self._h2.add_registered_method_handlers(service_name, method_handlers)

    # ---- ports

    def add_insecure_port(self, address: str) -> int:
        """Listen in plain text, on HTTP/2 only: QUIC has no plain text. Returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        return self._h2.add_port(address, None)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials, *, transport: Transport = "both") -> int:
        """Listen on UDP for HTTP/3 and on TCP for HTTP/2, under one port number.

        Args:
            address: ``host:port``; port 0 or none: a number that is free for both.
            server_credentials: Made with ``quicrpc.ssl_server_credentials``; with ``transport="h2"`` grpcio's own will do too.
            transport: ``"both"``, or one listener alone: ``"h3"``, ``"h2"``.
        Returns:
            The port number.
        Raises:
            OSError: the address cannot be bound.
            ValueError: an address or credentials that cannot be used.
        """
        if transport == "h2":
            return self._h2.add_port(address, server_credentials)
        if not isinstance(server_credentials, ServerCredentials):
            raise ValueError(
                "HTTP/3 needs credentials made with quicrpc.ssl_server_credentials(): grpcio's own keep their keys to themselves "
                '(or choose transport="h2")'
            )
        host, wanted_port = _split_address(address)
        # The options are checked now, with the caller there to see the error, and used in start().
        self._endpoint_options(server_credentials)
        for _ in range(_PORT_ATTEMPTS):
            links = _bind_udp(host, wanted_port)
            port = int(links[0].local_address()[1])
            if transport == "both":
                try:
                    self._h2.add_port(_join_address(host, port), server_credentials)
                except OSError:
                    for link in links:
                        link.close()
                    if wanted_port:
                        raise
                    continue
            self._bound.extend((link, server_credentials) for link in links)
            return port
        raise OSError(f"no port number is free for both UDP and TCP on {host!r} after {_PORT_ATTEMPTS} tries")

    def add_link(self, link: DatagramLink, server_credentials: ServerCredentials) -> None:
        """Serve HTTP/3 on a link of the caller's, such as one into a simulated network. The server closes it.

        Raises:
            ValueError: credentials that cannot be used.
        """
        self._endpoint_options(server_credentials)
        self._bound.append((link, server_credentials))

    def _endpoint_options(self, credentials: ServerCredentials) -> EndpointOptions:
        options = self._options
        return EndpointOptions(
            is_client=False,
            certificates=credentials.certificates,
            root_certificates=credentials.root_certificates,
            require_client_certificate=credentials.require_client_auth,
            ticket_store=self._ticket_store,
            early_data=options.early_data,
            stream_window_bytes=options.stream_window_bytes,
            connection_window_bytes=options.connection_window_bytes,
            max_streams_bidi=options.max_concurrent_streams,
            idle_timeout_s=options.idle_timeout_s,
            max_datagram_bytes=options.max_datagram_bytes,
            max_receive_datagram_bytes=max(1500, options.max_datagram_bytes),
        )

    # ---- life

    async def start(self) -> None:
        """Begin to serve. May be called once."""
        if self._dispatcher is not None:
            raise aio.UsageError("Server not in ready state")
        loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(
            self._handlers,
            self._interceptors,
            self._thread_pool,
            self._maximum_concurrent_rpcs,
            compression_name(self._compression),
            loop,
        )
        for link, credentials in self._bound:
            endpoint = create_endpoint(link, self._endpoint_options(credentials))
            listener = H3Listener(endpoint, self._dispatcher, self._options, loop)
            if isinstance(link, NotifyingLink):
                link.notify(listener.driver.receive)
            self._listeners.append(listener)
        await self._h2.start()

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, give those in flight ``grace`` seconds, then cancel them. Idempotent; the shortest grace wins."""
        if self._dispatcher is None:
            for link, _ in self._bound:
                link.close()
            self._stopped.set()
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (grace or 0.0)
        if (
            self._stopping is not None
            and not self._stopping.done()
            and self._stop_deadline is not None
            and deadline < self._stop_deadline
        ):
            self._stopping.cancel()
            self._stopping = None
        if self._stopping is None:
            self._stop_deadline = deadline
            self._stopping = loop.create_task(self._stop(self._dispatcher, grace))
        await asyncio.shield(self._stopping)

    async def _stop(self, dispatcher: Dispatcher, grace: float | None) -> None:
        await asyncio.gather(drain(self._listeners, dispatcher, grace), self._h2.stop(grace))
        self._stopped.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped. Returns True if ``timeout`` seconds passed first."""
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return True
        return False

    def __del__(self) -> None:
        # A server that was never stopped must not leave sockets behind; once the loop is gone nothing else can be done.
        if hasattr(self, "_bound") and not self._stopped.is_set():
            for link, _ in self._bound:
                link.close()


def _split_address(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or (host.startswith("[") and not host.endswith("]")) or "]" in port:
        host, port = address, "0"
    if host.count(":") and not host.startswith("["):
        host, port = address, "0"
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not a host:port address")
    return host or "::", int(port)


def _join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_udp(host: str, port: int) -> list[UdpLink]:
    """Bind every address of ``host``, all on one port number."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(f"cannot listen on {host!r}: {error.strerror}") from error
    links: list[UdpLink] = []
    for address in dict.fromkeys(str(entry[4][0]) for entry in found):
        try:
            links.append(UdpLink.bind(address, port))
        except OSError as error:
            if links and error.errno == errno.EADDRNOTAVAIL:
                continue  # a name such as localhost may list ::1 on a host without IPv6
            for link in links:
                link.close()
            raise OSError(error.errno, f"cannot listen on UDP {_join_address(address, port)}: {error.strerror}") from error
        port = int(links[-1].local_address()[1])
    return links


def server(
    migration_thread_pool: Executor | None = None,
    handlers: Sequence[grpc.GenericRpcHandler] | None = None,
    interceptors: Sequence[aio.ServerInterceptor] | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    maximum_concurrent_rpcs: int | None = None,
    compression: grpc.Compression | None = None,
) -> Server:
    """Create a server; the arguments are those of ``grpc.aio.server``.

    Args:
        migration_thread_pool: Runs servicer methods that are not coroutines.
        handlers: Generic handlers.
        interceptors: Wrap every call on both listeners, outermost first.
        options: ``(name, value)`` pairs: ``grpc.*`` for both listeners, ``quicrpc.*`` for the HTTP/3 one.
        maximum_concurrent_rpcs: Calls beyond this many, on each listener, are refused with RESOURCE_EXHAUSTED.
        compression: Default response compression.
    """
    return Server(migration_thread_pool, handlers, interceptors, options, maximum_concurrent_rpcs, compression)
