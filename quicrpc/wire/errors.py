"""Who is to blame when bytes and rules disagree."""

from __future__ import annotations

import grpc

__all__ = ["LocalProtocolError", "RemoteProtocolError"]


class LocalProtocolError(Exception):
    """Our own caller broke a rule; nothing was sent."""


class RemoteProtocolError(Exception):
    """The peer broke a rule of gRPC on one stream.

    Attributes:
        code: The status that this stream ends with.
        details: Text for the peer; names the rule and never repeats unbounded input.
        http_status: For a server: the HTTP status to answer with when the request was no gRPC request at all, else None.
    """

    def __init__(self, code: grpc.StatusCode, details: str, *, http_status: int | None = None) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.http_status = http_status
