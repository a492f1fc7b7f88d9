from __future__ import annotations

import grpc

from quicrpc.wire.errors import RemoteProtocolError


def test_remote_protocol_error_tells_code_and_details() -> None:
    error = RemoteProtocolError(grpc.StatusCode.INTERNAL, "why", http_status=415)
    assert (error.code, error.details, error.http_status, str(error)) == (grpc.StatusCode.INTERNAL, "why", 415, "why")
    assert RemoteProtocolError(grpc.StatusCode.INTERNAL, "why").http_status is None
