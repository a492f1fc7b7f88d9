"""Status codes and ``grpc-message``: numbers, percent-encoding, and what other layers' failures mean to gRPC."""

from __future__ import annotations

import re
from urllib.parse import unquote

import grpc

__all__ = ["STATUS_NUMBERS", "decode_message", "encode_message", "status_code", "status_from_h3_error", "status_from_http"]

#: The value of ``grpc-status`` of every status code.
STATUS_NUMBERS: dict[grpc.StatusCode, int] = {code: code.value[0] for code in grpc.StatusCode}

_STATUS_CODES = {number: code for code, number in STATUS_NUMBERS.items()}

_HTTP_STATUS_CODES = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}

_H3_STATUS_CODES = {
    0x107: grpc.StatusCode.RESOURCE_EXHAUSTED,  # H3_EXCESSIVE_LOAD
    0x10B: grpc.StatusCode.UNAVAILABLE,  # H3_REQUEST_REJECTED
    0x10C: grpc.StatusCode.CANCELLED,  # H3_REQUEST_CANCELLED
}

# HTTP takes spaces off the ends of a field value, so the outermost ones are encoded as well; any decoder restores them.
_MUST_BE_ENCODED = re.compile(rb"[^ -$&-~]|\A | \Z")


def status_code(value: int) -> grpc.StatusCode:
    """The status code with this number; UNKNOWN for numbers that gRPC does not define."""
    return _STATUS_CODES.get(value, grpc.StatusCode.UNKNOWN)


def status_from_http(http_status: int) -> grpc.StatusCode:
    """The status of a call whose answer was not gRPC, from its HTTP status.

    Source: gRPC http-grpc-status-mapping.md.
    """
    return _HTTP_STATUS_CODES.get(http_status, grpc.StatusCode.UNKNOWN)


def status_from_h3_error(code: int) -> grpc.StatusCode:
    """The status of a call whose stream or connection ended with this HTTP/3 or QPACK error code and no ``grpc-status``.

    Source: gRPC proposal G2, HTTP/3 error codes. QPACK's codes are not in its table; they are INTERNAL here.
    """
    return _H3_STATUS_CODES.get(code, grpc.StatusCode.INTERNAL)


def encode_message(text: str) -> str:
    """Percent-encode status details for ``grpc-message``; surrogates, which UTF-8 cannot say, become ``?``.

    Source: gRPC PROTOCOL-HTTP2, Responses, Status-Message.
    """
    return _MUST_BE_ENCODED.sub(_percent_encode, text.encode(errors="replace")).decode("ascii")


def _percent_encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


def decode_message(text: str) -> str:
    """Decode a ``grpc-message``. Never fails: a wrong escape stays as it is, wrong UTF-8 becomes U+FFFD.

    Source: gRPC PROTOCOL-HTTP2, Responses, Status-Message ("must not ... throw an error").
    """
    return unquote(text) if "%" in text else text
