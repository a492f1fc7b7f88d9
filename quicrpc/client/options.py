"""The ``grpc.*`` and ``quicrpc.*`` options that a channel understands, with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ChannelOptions", "parse_channel_options"]

_DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Limits and switches of an HTTP/3 channel. Times in seconds.

    Attributes:
        max_receive_message_bytes, max_send_message_bytes: Largest messages; None: unlimited.
        max_metadata_bytes: Largest field section, decoded.
        authority: ``:authority`` sent, instead of the target's.
        server_name: Name the server's certificate must carry, instead of the target's host.
        user_agent_prefix: Put before our own user agent.
        stream_window_bytes, connection_window_bytes: Receive credit.
        idle_timeout_s: A connection without traffic for this long is closed.
        connect_timeout_s: How long one address may take to complete the handshake.
        initial_backoff_s, min_backoff_s, max_backoff_s: Between attempts to connect.
        max_datagram_bytes: UDP payload sent.
        early_data: Send methods without side effects as 0-RTT data when a ticket is at hand.
        head_start_s: ``auto``: how long HTTP/3 tries alone before HTTP/2 is started beside it.
        broken_quic_s: ``auto``: how long a peer whose UDP does not get through is remembered.
    """

    max_receive_message_bytes: int | None = _DEFAULT_MESSAGE_BYTES
    max_send_message_bytes: int | None = None
    max_metadata_bytes: int = 16 * 1024
    authority: str | None = None
    server_name: str | None = None
    user_agent_prefix: str = ""
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    idle_timeout_s: float = 60.0
    connect_timeout_s: float = 20.0
    initial_backoff_s: float = 1.0
    min_backoff_s: float = 0.1
    max_backoff_s: float = 120.0
    max_datagram_bytes: int = 1200
    early_data: bool = True
    head_start_s: float = 0.25
    broken_quic_s: float = 300.0


def parse_channel_options(options: Sequence[tuple[str, Any]]) -> ChannelOptions:
    """Read channel arguments. Unknown names are left to grpcio, which ignores what it does not know.

    Raises:
        ValueError: a value out of range, naming the option.
    """
    given = dict(options)

    def number(name: str, default: int, minimum: int) -> int:
        value = given.get(name, default)
        if not isinstance(value, int) or value < minimum:
            raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}")
        return value

    def message_limit(name: str, default: int | None) -> int | None:
        value = number(name, -1 if default is None else default, -1)
        return None if value == -1 else value

    def text(name: str) -> str | None:
        value = given.get(name)
        if isinstance(value, bytes):
            value = value.decode()
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} must be a string, not {value!r}")
        return value

    return ChannelOptions(
        max_receive_message_bytes=message_limit("grpc.max_receive_message_length", _DEFAULT_MESSAGE_BYTES),
        max_send_message_bytes=message_limit("grpc.max_send_message_length", None),
        max_metadata_bytes=number("grpc.max_metadata_size", 16 * 1024, 1),
        authority=text("grpc.default_authority"),
        server_name=text("grpc.ssl_target_name_override"),
        user_agent_prefix=text("grpc.primary_user_agent") or "",
        stream_window_bytes=number("quicrpc.stream_window_bytes", 256 * 1024, 16 * 1024),
        connection_window_bytes=number("quicrpc.connection_window_bytes", 1024 * 1024, 16 * 1024),
        idle_timeout_s=number("quicrpc.idle_timeout_ms", 60_000, 1) / 1000,
        connect_timeout_s=number("quicrpc.connect_timeout_ms", 20_000, 1) / 1000,
        initial_backoff_s=number("grpc.initial_reconnect_backoff_ms", 1000, 1) / 1000,
        min_backoff_s=number("grpc.min_reconnect_backoff_ms", 100, 1) / 1000,
        max_backoff_s=number("grpc.max_reconnect_backoff_ms", 120_000, 1) / 1000,
        max_datagram_bytes=number("quicrpc.max_datagram_bytes", 1200, 1200),
        early_data=bool(number("quicrpc.early_data", 1, 0)),
        head_start_s=number("quicrpc.head_start_ms", 250, 0) / 1000,
        broken_quic_s=number("quicrpc.broken_quic_ms", 300_000, 0) / 1000,
    )
