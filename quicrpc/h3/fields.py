"""Which field sections are well-formed (RFC 9114, 4.2 and 4.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

__all__ = [
    "FieldLine",
    "FieldSection",
    "MalformedSection",
    "request_section",
    "response_section",
    "section_bytes",
    "trailer_section",
]

#: Name and value.
FieldLine = tuple[bytes, bytes]


@dataclass(slots=True, eq=False)
class FieldSection:
    """A decoded and validated header or trailer section.

    One object may serve many requests, on many connections: whoever sends the same bytes gets the same section.

    Attributes:
        fields: Name and value of each line, in order, pseudo-headers first.
        content_length: Value of content-length; None without one, and in trailers.
        interim: A 1xx response.
        memo: For upper layers, to keep what they derived *from these fields alone*.
    """

    fields: tuple[FieldLine, ...]
    content_length: int | None = None
    interim: bool = False
    memo: object | None = None


class MalformedSection(Exception):
    """A rule is broken; the text names it and never repeats the peer's input."""


def section_bytes(fields: Sequence[FieldLine]) -> int:
    """Return the size that SETTINGS_MAX_FIELD_SECTION_SIZE limits (RFC 9114, 4.2.2)."""
    return sum(map(len, chain.from_iterable(fields))) + 32 * len(fields)


_NO_PSEUDO: Final[frozenset[bytes]] = frozenset()
_REQUEST_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_RESPONSE_PSEUDO: Final = frozenset({b":status"})

#: Meaningless between HTTP/3 peers (RFC 9114, 4.2).
_CONNECTION_SPECIFIC: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

# Legal names with no rule of their own, looked up first because a set is faster than a regular expression.
_FREQUENT_NAMES: Final = frozenset(
    {
        b"accept-encoding",
        b"authorization",
        b"content-type",
        b"date",
        b"grpc-accept-encoding",
        b"grpc-encoding",
        b"grpc-message",
        b"grpc-status",
        b"grpc-status-details-bin",
        b"grpc-timeout",
        b"server",
        b"traceparent",
        b"tracestate",
        b"user-agent",
    }
)

#: A token (RFC 9110, 5.6.2) without upper-case letters (RFC 9114, 4.2).
_FIELD_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: More digits than 2**62 bytes of stream need; also bounds the conversion.
_MAX_CONTENT_LENGTH_DIGITS: Final = 19


def _validate(fields: list[FieldLine], allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Check what all sections have in common. Returns the pseudo-headers, and the fields that later rules look at."""
    pseudo: dict[bytes, bytes] = {}
    special: dict[bytes, bytes] = {}
    regular_seen = False
    for name, value in fields:
        if name in _FREQUENT_NAMES:
            regular_seen = True
        elif name[:1] == b":":
            if regular_seen:
                raise MalformedSection("pseudo-header after a regular field")
            if name not in allowed:
                raise MalformedSection("pseudo-header that is not allowed here")
            if name in pseudo:
                raise MalformedSection("pseudo-header given twice")
            pseudo[name] = value
        else:
            regular_seen = True
            if name == b"host" or name == b"content-length":
                if name in special:
                    raise MalformedSection("host or content-length given twice")
                special[name] = value
            elif name in _CONNECTION_SPECIFIC:
                raise MalformedSection("connection-specific field")
            elif name == b"te":
                if value != b"trailers":
                    raise MalformedSection('te other than "trailers"')
            elif _FIELD_NAME.fullmatch(name) is None:
                raise MalformedSection("illegal character in a field name")
        if value.strip(b" \t") != value:
            raise MalformedSection("whitespace around a field value")
    # One look at all values instead of one at each.
    text = b"".join([value for _, value in fields])
    if b"\n" in text or b"\r" in text or b"\0" in text:
        raise MalformedSection("CR, LF or NUL in a field value")
    return pseudo, special


def _content_length(special: dict[bytes, bytes]) -> int | None:
    value = special.get(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MAX_CONTENT_LENGTH_DIGITS:
        raise MalformedSection("content-length is not one number")
    return int(value)


def request_section(fields: list[FieldLine]) -> FieldSection:
    """Validate a request's header section. Raises MalformedSection. Source: RFC 9114, 4.2, 4.3.1 and 4.4."""
    pseudo, special = _validate(fields, _REQUEST_PSEUDO)
    method = pseudo.get(b":method", b"")
    if _METHOD.fullmatch(method) is None:
        raise MalformedSection("request without a usable :method")
    authority = pseudo.get(b":authority")
    host = special.get(b"host")
    if method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo:
            raise MalformedSection("CONNECT with :scheme or :path")
        if not authority:
            raise MalformedSection("CONNECT without :authority")
    elif not pseudo.get(b":scheme") or not pseudo.get(b":path"):
        raise MalformedSection("request without :scheme or :path")
    if not authority and (authority is not None or not host):
        raise MalformedSection("request without :authority or host")
    if authority is not None and (b"@" in authority or (host is not None and host != authority)):
        raise MalformedSection(":authority with userinfo, or other than host")
    return FieldSection(tuple(fields), _content_length(special))


def response_section(fields: list[FieldLine]) -> FieldSection:
    """Validate a response's header section, interim or final. Raises MalformedSection. Source: RFC 9114, 4.2, 4.3.2 and 4.5."""
    pseudo, special = _validate(fields, _RESPONSE_PSEUDO)
    status = pseudo.get(b":status", b"")
    # HTTP/3 has no 101 (Switching Protocols).
    if len(status) != 3 or not status.isdigit() or status < b"100" or status == b"101":
        raise MalformedSection("response without a usable :status")
    # 304 describes content it does not carry (RFC 9110, 8.6).
    content_length = None if status == b"304" else _content_length(special)
    return FieldSection(tuple(fields), content_length, status < b"200")


def trailer_section(fields: list[FieldLine]) -> FieldSection:
    """Validate a trailer section: no pseudo-headers. Raises MalformedSection. Source: RFC 9114, 4.1 and 4.3."""
    _validate(fields, _NO_PSEUDO)
    return FieldSection(tuple(fields))
