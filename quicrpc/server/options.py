"""The ``grpc.*`` and ``quicrpc.*`` options that a server understands, with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ServerOptions", "parse_server_options"]

_DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits and switches of the HTTP/3 listener.

    Attributes:
        max_receive_message_bytes: Largest request message, compressed or not; None: unlimited.
        max_send_message_bytes: Largest response message; None: unlimited.
        max_metadata_bytes: Largest field section, decoded.
        max_concurrent_streams: Request streams one connection may have open.
        stream_window_bytes, connection_window_bytes: Receive credit.
        idle_timeout_s: A connection without traffic for this long is closed.
        max_datagram_bytes: UDP payload sent.
        early_data: Accept 0-RTT.
    """

    max_receive_message_bytes: int | None = _DEFAULT_MESSAGE_BYTES
    max_send_message_bytes: int | None = None
    max_metadata_bytes: int = 16 * 1024
    max_concurrent_streams: int = 1024
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    idle_timeout_s: float = 60.0
    max_datagram_bytes: int = 1200
    early_data: bool = True


def parse_server_options(options: Sequence[tuple[str, Any]]) -> ServerOptions:
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

    return ServerOptions(
        max_receive_message_bytes=message_limit("grpc.max_receive_message_length", _DEFAULT_MESSAGE_BYTES),
        max_send_message_bytes=message_limit("grpc.max_send_message_length", None),
        max_metadata_bytes=number("grpc.max_metadata_size", 16 * 1024, 1),
        max_concurrent_streams=number("grpc.max_concurrent_streams", 1024, 1),
        stream_window_bytes=number("quicrpc.stream_window_bytes", 256 * 1024, 16 * 1024),
        connection_window_bytes=number("quicrpc.connection_window_bytes", 1024 * 1024, 16 * 1024),
        idle_timeout_s=number("quicrpc.idle_timeout_ms", 60_000, 1) / 1000,
        max_datagram_bytes=number("quicrpc.max_datagram_bytes", 1200, 1200),
        early_data=bool(number("quicrpc.early_data", 1, 0)),
    )
