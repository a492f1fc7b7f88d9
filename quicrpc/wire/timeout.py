"""``grpc-timeout``: how long the caller is ready to wait (gRPC PROTOCOL-HTTP2, Requests, Timeout)."""

from __future__ import annotations

import grpc

from quicrpc.wire.errors import RemoteProtocolError

__all__ = ["decode_timeout", "encode_timeout"]

_MAX_DIGITS = 8
_MAX_VALUE = 10**_MAX_DIGITS - 1

# A unit is (factor, divisor) so that every unit converts in one exact product and one rounded quotient.
_UNITS = {"n": (1, 10**9), "u": (1, 10**6), "m": (1, 1000), "S": (1, 1), "M": (60, 1), "H": (3600, 1)}


def decode_timeout(text: str) -> float:
    """Parse a ``grpc-timeout`` value.

    Args: text: 1-8 ASCII digits and one unit of ``HMSmun``.
    Returns: Seconds, >= 0.
    Raises: RemoteProtocolError: INTERNAL for any other form.
    Source: gRPC PROTOCOL-HTTP2, Requests, Timeout.
    """
    digits = text[:-1]
    unit = _UNITS.get(text[-1:])
    if unit is None or len(digits) > _MAX_DIGITS or not (digits.isascii() and digits.isdigit()):
        raise RemoteProtocolError(
            grpc.StatusCode.INTERNAL, f"grpc-timeout {text[:16]!a} is not 1-{_MAX_DIGITS} digits and a unit of HMSmun"
        )
    factor, divisor = unit
    return int(digits) * factor / divisor


def encode_timeout(seconds: float) -> str:
    """Write a timeout in the finest unit that fits.

    Args: seconds: Any number; 0 and less mean that the deadline has passed.
    Returns: A ``grpc-timeout`` value that never decodes to more than ``seconds``; at most ``99999999H``.
    """
    if not seconds > 0:
        return "0n"
    if seconds < 0.1:
        unit, factor, divisor = "n", 1, 10**9
    elif seconds < 100:
        unit, factor, divisor = "u", 1, 10**6
    elif seconds < 1e5:
        unit, factor, divisor = "m", 1, 1000
    elif seconds < 1e8:
        unit, factor, divisor = "S", 1, 1
    elif seconds < 6e9:
        unit, factor, divisor = "M", 60, 1
    elif seconds < _MAX_VALUE * 3600:
        unit, factor, divisor = "H", 3600, 1
    else:
        return f"{_MAX_VALUE}H"
    value = int(seconds * divisor / factor)
    # The product is rounded, and may have been rounded up to the next whole number.
    if value * factor / divisor > seconds:
        value -= 1
    return f"{value}{unit}"
