from __future__ import annotations

import pytest

from quicrpc.quic.aioquic.admission import Admission, RateLimit
from quicrpc.quic.aioquic.connection import ConnectionIds
from quicrpc.quic.engine import EndpointOptions

ADDRESS = ("192.0.2.1", 1000)


def admission(ids: ConnectionIds | None = None) -> Admission:
    return Admission(EndpointOptions(is_client=False), ids or ConnectionIds(bytes(32), None))


def test_the_rate_limit_refills() -> None:
    limit = RateLimit(2)
    assert [limit.allow(10.0) for _ in range(3)] == [True, True, False]
    assert limit.allow(10.5)
    assert not limit.allow(10.5)
    assert not limit.allow(9.0)


@pytest.mark.parametrize("size", [22, 43, 100, 1200])
def test_a_reset_is_smaller_than_what_it_answers(size: int) -> None:
    ids = ConnectionIds(bytes(32), None)
    data = b"\x41" + bytes(size - 1)
    reset = admission(ids).stateless_reset(data, 0.0)
    assert reset is not None
    assert 21 <= len(reset) < size
    assert reset[0] & 0xC0 == 0x40
    assert reset[-16:] == ids.reset_token(data[1:9])


def test_small_packets_get_no_reset() -> None:
    assert admission().stateless_reset(b"\x41" + bytes(20), 0.0) is None


def test_resets_are_limited_in_rate() -> None:
    judge = admission()
    answers = [judge.stateless_reset(b"\x41" + bytes(99), 0.0) for _ in range(1500)]
    assert sum(answer is not None for answer in answers) == 1000


def test_tokens_agree_between_processes_with_the_same_key() -> None:
    assert ConnectionIds(b"k" * 32, None).reset_token(b"12345678") == ConnectionIds(b"k" * 32, None).reset_token(b"12345678")
    assert ConnectionIds(None, None).reset_token(b"12345678") != ConnectionIds(None, None).reset_token(b"12345678")


def test_the_prefix_begins_each_connection_id() -> None:
    ids = ConnectionIds(None, lambda: 7)
    assert {ids.new()[0] for _ in range(10)} == {7}
    assert len({ids.new() for _ in range(10)}) == 10


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0" + b"\0\0\0\1" + b"\x07" + bytes(7) + b"\x00" + bytes(1200),  # a client's first connection ID has 8 bytes or more
        b"\xc0" + b"\0\0\0\1" + b"\xff" * 1300,
        b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\xff" * 1300,
        b"\xe0" + b"\0\0\0\1" + b"\x08" + bytes(8) + b"\x00" + bytes(1200),  # a Handshake packet begins nothing
    ],
)
def test_malformed_beginnings_get_no_answer(data: bytes) -> None:
    judge = admission()
    if data[1:5] == b"\x1a\x2a\x3a\x4a":
        data = data[:6] + data[6:262]  # connection IDs run past the end
    assert judge.consider(data, ADDRESS, 0.0, 0) is None
