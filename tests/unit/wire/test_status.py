from __future__ import annotations

import grpc
import pytest

from quicrpc.wire.status import (
    STATUS_NUMBERS,
    decode_message,
    encode_message,
    status_code,
    status_from_h3_error,
    status_from_http,
)

StatusCode = grpc.StatusCode


def test_numbers() -> None:
    assert sorted(STATUS_NUMBERS.values()) == list(range(17))
    assert all(status_code(number) is code for code, number in STATUS_NUMBERS.items())
    assert status_code(17) is status_code(-1) is StatusCode.UNKNOWN


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        (400, StatusCode.INTERNAL),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.UNIMPLEMENTED),
        (429, StatusCode.UNAVAILABLE),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.UNAVAILABLE),
        (200, StatusCode.UNKNOWN),
        (302, StatusCode.UNKNOWN),
        (415, StatusCode.UNKNOWN),
        (500, StatusCode.UNKNOWN),
    ],
)
def test_status_from_http(http_status: int, code: grpc.StatusCode) -> None:
    assert status_from_http(http_status) is code


def test_status_from_h3_error() -> None:
    special = {0x107: StatusCode.RESOURCE_EXHAUSTED, 0x10B: StatusCode.UNAVAILABLE, 0x10C: StatusCode.CANCELLED}
    for code in [*range(0x100, 0x111), 0x200, 0x201, 0x202, 0]:
        assert status_from_h3_error(code) is special.get(code, StatusCode.INTERNAL)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("plain ~!\"#$&'() text", "plain ~!\"#$&'() text"),
        ("100%", "100%25"),
        ("a\r\n\t\x7f", "a%0D%0A%09%7F"),
        ("é€😀", "%C3%A9%E2%82%AC%F0%9F%98%80"),
        ("  a b  ", "%20 a b %20"),
        (" ", "%20"),
        ("\ud800", "?"),
    ],
)
def test_encode_message(text: str, encoded: str) -> None:
    assert encode_message(text) == encoded


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("%C3%A9%e2%82%ac", "é€"),
        ("%", "%"),
        ("100%zz %2", "100%zz %2"),
        ("%ff", "\ufffd"),
        ("é%25", "é%"),
    ],
)
def test_decode_message_never_fails(text: str, decoded: str) -> None:
    assert decode_message(text) == decoded
