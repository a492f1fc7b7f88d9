"""Between the suite's messages and grpc's vocabulary: headers and metadata, errors and statuses."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import grpc

# Made from the suite's schemas by whoever runs it; imported here only.
from connectrpc.conformance.v1 import (  # type: ignore[import-not-found]
    client_compat_pb2,
    config_pb2,
    server_compat_pb2,
    service_pb2,
)
from google.rpc import status_pb2

__all__ = [
    "DETAILS_KEY",
    "client_compat_pb2",
    "config_pb2",
    "error_of",
    "headers_of",
    "metadata_of",
    "server_compat_pb2",
    "service_pb2",
    "status_bytes",
    "status_code_of",
]

DETAILS_KEY = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_Metadata = tuple[tuple[str, str | bytes], ...]


def metadata_of(headers: Iterable[Any]) -> _Metadata:
    """Return the suite's headers as metadata; values of ``-bin`` keys are base64 there."""
    return tuple((header.name.lower(), _value_of(header.name, text)) for header in headers for text in header.value)


def _value_of(name: str, text: str) -> str | bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4)) if name.lower().endswith("-bin") else text


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> list[Any]:
    """Return metadata as the suite's headers: one for each key, its values in order."""
    headers: dict[str, Any] = {}
    for key, value in metadata:
        header = headers.setdefault(key, service_pb2.Header(name=key))
        header.value.append(base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value)
    return list(headers.values())


def status_code_of(error: Any) -> grpc.StatusCode:
    """Return the status code of a suite's Error; the numbers are gRPC's."""
    return _CODES[error.code]


def status_bytes(error: Any, more_details: Sequence[Any]) -> bytes:
    """Return what ``grpc-status-details-bin`` says of an Error."""
    status = status_pb2.Status(code=error.code, message=error.message, details=[*error.details, *more_details])
    encoded: bytes = status.SerializeToString()
    return encoded


def error_of(code: grpc.StatusCode, details: str | None, trailing_metadata: Iterable[tuple[str, str | bytes]]) -> Any:
    """Return how a call ended as an Error, with the details its trailers carry."""
    error = service_pb2.Error(code=code.value[0], message=details)
    for key, value in trailing_metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            error.details.extend(status_pb2.Status.FromString(value).details)
    return error
