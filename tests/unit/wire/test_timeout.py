from __future__ import annotations

import math

import grpc
import pytest

from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.timeout import decode_timeout, encode_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0n", 0.0),
        ("1n", 1e-9),
        ("20u", 20e-6),
        ("100m", 0.1),
        ("7S", 7.0),
        ("3M", 180.0),
        ("2H", 7200.0),
        ("00000001S", 1.0),
        ("99999999H", 99999999 * 3600.0),
    ],
)
def test_decode(text: str, seconds: float) -> None:
    assert decode_timeout(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "S", "1", "1s", "1h", "-1S", "+1S", " 1S", "1 S", "1.5S", "1_0S", "123456789S", "\u0661S", "²S", "1SS"]
)
def test_malformed_is_internal(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_timeout(text)
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert caught.value.http_status is None


def test_details_do_not_repeat_long_input() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_timeout("x" * 10_000)
    assert len(caught.value.details) < 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0n"),
        (-1.0, "0n"),
        (-math.inf, "0n"),
        (math.nan, "0n"),
        (1e-12, "0n"),
        (0.05, "50000000n"),
        (0.25, "250000u"),
        (5, "5000000u"),
        (99.999999, "99999999u"),
        (100, "100000m"),
        (86400, "86400000m"),
        (100_000, "100000S"),
        (1e8, "1666666M"),
        (6e9, "1666666H"),
        (99999999 * 3600.0, "99999999H"),
        (1e300, "99999999H"),
        (math.inf, "99999999H"),
    ],
)
def test_encode(seconds: float, text: str) -> None:
    assert encode_timeout(seconds) == text


@pytest.mark.parametrize(("instant", "text"), [(0.079343271, "79343270n"), (98.080323, "98080322u"), (63400.821, "63400820m")])
def test_encode_corrects_a_product_that_was_rounded_up(instant: float, text: str) -> None:
    assert encode_timeout(math.nextafter(instant, 0)) == text
