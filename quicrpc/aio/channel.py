"""``quicrpc.aio.secure_channel()``: grpc.aio's channel over HTTP/3, HTTP/2, or the first of the two that is ready."""

from __future__ import annotations

import asyncio
import platform
import weakref
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import grpc
from grpc import aio

from quicrpc.client.call_credentials import plugins_of
from quicrpc.client.channel import ChannelCore, MethodCore, TransportChoice
from quicrpc.client.channel_h2 import H2Channel
from quicrpc.client.connector import BROKEN_QUIC, Connector
from quicrpc.client.grpcio import PythonChannel, python_channel_module
from quicrpc.client.options import parse_channel_options
from quicrpc.client.resolver import parse_target
from quicrpc.client.subchannel import Subchannel
from quicrpc.client.tickets import TicketCache
from quicrpc.quic.engine import Address
from quicrpc.quic.udp import UdpLink
from quicrpc.security.credentials import channel_security
from quicrpc.transport.links import BindLink
from quicrpc.wire.compression import compression_name

__all__ = ["Channel", "insecure_channel", "secure_channel", "transport_of"]

_KINDS = (
    (aio.UnaryUnaryClientInterceptor, "_unary_unary_interceptors"),
    (aio.UnaryStreamClientInterceptor, "_unary_stream_interceptors"),
    (aio.StreamUnaryClientInterceptor, "_stream_unary_interceptors"),
    (aio.StreamStreamClientInterceptor, "_stream_stream_interceptors"),
)

#: Resumption works from one channel to the next within a process.
_TICKETS = TicketCache()


def _user_agent(prefix: str) -> str:
    ours = (
        f"grpc-python-quicrpc/{version('quicrpc')} (aioquic/{version('aioquic')}; h3; {platform.python_implementation().lower()})"
    )
    return f"{prefix} {ours}" if prefix else ours


def _bind_udp(address: Address) -> UdpLink:
    return UdpLink.bind("::" if len(address) == 4 else "0.0.0.0", 0)


class Channel(PythonChannel):
    """A channel to a target. Created with :func:`secure_channel` or :func:`insecure_channel`; use it on one event loop only.

    It is grpc.aio's own channel, calls and interceptors over another core: see docs/decisions/002. ``bind`` is for tests: it makes
    the links that connections of the HTTP/3 leg are on.
    """

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, Any]],
        compression: grpc.Compression | None,
        interceptors: Sequence[aio.ClientInterceptor] | None,
        transport: TransportChoice,
        *,
        bind: BindLink = _bind_udp,
    ) -> None:
        if transport not in ("auto", "h3", "h2"):
            raise ValueError(f'transport must be "auto", "h3" or "h2", not {transport!r}')
        for _, attribute in _KINDS:
            setattr(self, attribute, [])
        for interceptor in interceptors or ():
            for kind, attribute in _KINDS:
                if isinstance(interceptor, kind):
                    getattr(self, attribute).append(interceptor)
                    break
            else:
                raise ValueError(f"Interceptor {interceptor} must be one of {', '.join(kind.__name__ for kind, _ in _KINDS)}")
        self._loop = _current_loop()
        self._active_calls: weakref.WeakSet[Any] = weakref.WeakSet()
        self._h2_channel: H2Channel | None = None
        if transport == "h2":
            self._h2_channel = H2Channel(target, credentials, options, compression)
            self._channel: Any = self._h2_channel.core
            return
        assert credentials is not None
        parsed = parse_channel_options(options)
        security = channel_security(credentials)
        subchannel = Subchannel(
            parse_target(target),
            security,
            parsed,
            user_agent=_user_agent(parsed.user_agent_prefix),
            compression=compression_name(compression),
            tickets=_TICKETS,
            loop=self._loop,
            bind=bind,
        )
        connector = None
        if transport == "auto":
            self._h2_channel = H2Channel(target, credentials, options, compression)
            connector = Connector(subchannel, self._h2_channel, parsed, BROKEN_QUIC, self._loop)
        self._channel = ChannelCore(subchannel, connector, self._h2_channel, plugins_of(security.call_credentials), self._loop)

    def _multi_callable(
        self,
        kind: str,
        method: str,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
        registered: bool | None,
    ) -> Any:
        interceptors = getattr(self, f"_{kind}_interceptors")
        cls = getattr(python_channel_module, "".join(part.title() for part in kind.split("_")) + "MultiCallable")
        if not isinstance(self._channel, ChannelCore):
            handle = self._get_registered_call_handle(method, registered)  # type: ignore[attr-defined]  # not in the stubs
            return cls(self._channel, method.encode(), serialize, deserialize, interceptors, [self], self._loop, handle)
        core = MethodCore(self._channel, serialize, deserialize)
        return cls(core, method.encode(), None, None, interceptors, [self], self._loop)

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Create a ``UnaryUnaryMultiCallable``. Called by generated code."""
        return self._multi_callable("unary_unary", method, request_serializer, response_deserializer, _registered_method)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Create a ``UnaryStreamMultiCallable``. Called by generated code."""
        return self._multi_callable("unary_stream", method, request_serializer, response_deserializer, _registered_method)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Create a ``StreamUnaryMultiCallable``. Called by generated code."""
        return self._multi_callable("stream_unary", method, request_serializer, response_deserializer, _registered_method)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Create a ``StreamStreamMultiCallable``. Called by generated code."""
        return self._multi_callable("stream_stream", method, request_serializer, response_deserializer, _registered_method)

    # ---- beyond grpc.aio

    def connection_info(self) -> Any:
        """Return the engine's ``ConnectionInfo`` of the HTTP/3 connection (ALPN, resumption, early data, RTT); None without one."""
        core = self._channel
        if not isinstance(core, ChannelCore) or core.h3.connection is None:
            return None
        connection = core.h3.connection
        try:
            return connection.endpoint.info(connection.number)
        except KeyError:
            return None

    def peer_server(self) -> str:
        """Return the ``server`` field of the last HTTP/3 response, as it was on the wire; "" without one."""
        core = self._channel
        if not isinstance(core, ChannelCore) or core.h3.connection is None:
            return ""
        return core.h3.connection.server


def _current_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        # As grpc.aio: a channel may be made before the loop runs.
        return asyncio.get_event_loop_policy().get_event_loop()


def secure_channel(
    target: str,
    credentials: grpc.ChannelCredentials,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[aio.ClientInterceptor] | None = None,
    *,
    transport: TransportChoice = "auto",
) -> Channel:
    """Create a channel over TLS; the positional arguments are those of ``grpc.aio.secure_channel``.

    Args:
        target: ``host:port``, ``dns:///host:port``, ``ipv4:...`` or ``ipv6:...``.
        credentials: From ``quicrpc.ssl_channel_credentials`` or grpcio's own functions.
        options: ``(name, value)`` pairs, ``grpc.*`` and ``quicrpc.*``.
        compression: Default request compression.
        interceptors: Client interceptors.
        transport: ``"h3"``, ``"h2"``, or ``"auto"``: HTTP/3 first, HTTP/2 beside it after a head start, the first one ready wins.
    Raises:
        ValueError: a target, option or credentials that cannot be used.
    """
    return Channel(target, credentials, options or (), compression, interceptors, transport)  # type: ignore[abstract]  # see PythonChannel


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[aio.ClientInterceptor] | None = None,
) -> Channel:
    """Create a channel in plain text, over HTTP/2 only: QUIC has no plain text."""
    return Channel(target, None, options or (), compression, interceptors, "h2")  # type: ignore[abstract]  # see PythonChannel


def transport_of(call: Any) -> str | None:
    """Return the transport a call uses, ``"h3"`` or ``"h2"``; None while an ``auto`` channel has not decided.

    Args:
        call: A call object of a quicrpc channel, intercepted or not.
    """
    task = getattr(call, "_interceptors_task", None)
    if task is not None:
        return transport_of(task.result()) if task.done() and not task.cancelled() and task.exception() is None else None
    core = getattr(call, "_cython_call", None)
    return getattr(core, "transport", "h2")
