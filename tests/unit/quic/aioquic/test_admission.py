from __future__ import annotations

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder

from quicrpc.quic.aioquic.admission import Admission, Admitted, RateLimit
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


def initial(token: bytes = b"", destination: bytes = b"destinat") -> bytes:
    crypto = CryptoPair()
    crypto.setup_initial(cid=destination, is_client=True, version=1)
    builder = QuicPacketBuilder(
        host_cid=b"source", peer_cid=destination, version=1, is_client=True, max_datagram_size=1200, peer_token=token
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    builder.start_frame(1)
    return builder.flush()[0][0]


class TestRetry:
    def test_a_token_that_comes_back_is_proof(self) -> None:
        judge = admission()
        retry = judge.consider(initial(), ADDRESS, 5.0, 100)
        assert isinstance(retry, bytes)
        assert len(retry) < 300
        source = retry[13:21]
        token = retry[21:-16]
        verdict = judge.consider(initial(token, source), ADDRESS, 6.0, 100)
        assert verdict == Admitted(source, b"destinat", source)
        # also when the load has gone in the meantime
        assert judge.consider(initial(token, source), ADDRESS, 6.0, 0) == verdict

    @pytest.mark.parametrize("address", [("192.0.2.2", 1000), ("192.0.2.1", 1001)])
    def test_not_from_elsewhere(self, address: tuple[str, int]) -> None:
        judge = admission()
        retry = judge.consider(initial(), ADDRESS, 5.0, 100)
        assert isinstance(retry, bytes)
        self.assert_closed(judge.consider(initial(retry[21:-16], retry[13:21]), address, 6.0, 100))

    def test_not_for_ever(self) -> None:
        judge = admission()
        retry = judge.consider(initial(), ADDRESS, 5.0, 100)
        assert isinstance(retry, bytes)
        self.assert_closed(judge.consider(initial(retry[21:-16], retry[13:21]), ADDRESS, 36.0, 100))

    @pytest.mark.parametrize("token", [b"x", b"x" * 60])
    def test_not_made_up(self, token: bytes) -> None:
        self.assert_closed(admission().consider(initial(token), ADDRESS, 6.0, 0))

    def test_processes_with_one_key_believe_each_other(self) -> None:
        one, two = (Admission(EndpointOptions(is_client=False, retry_key=b"k" * 32), ConnectionIds(None, None)) for _ in range(2))
        retry = one.consider(initial(), ADDRESS, 5.0, 100)
        assert isinstance(retry, bytes)
        assert isinstance(two.consider(initial(retry[21:-16], retry[13:21]), ADDRESS, 6.0, 100), Admitted)

    def assert_closed(self, answer: object) -> None:
        assert isinstance(answer, bytes)
        assert len(answer) < 100


def test_strangers_are_admitted_and_refused() -> None:
    judge = admission()
    assert judge.consider(initial(), ADDRESS, 0.0, 99) == Admitted(b"destinat", b"destinat", None)
    refusal = judge.consider(initial(), ADDRESS, 0.0, 256)
    assert isinstance(refusal, bytes)
    assert len(refusal) < 100
    judge.draining = True
    assert isinstance(judge.consider(initial(), ADDRESS, 0.0, 0), bytes)
