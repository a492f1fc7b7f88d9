"""Instructions between peers without a dynamic table."""

import pytest

from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.events import H3Event
from quicrpc.h3.qpack_streams import QpackDecoderStream, QpackEncoderStream


def test_encoder_may_set_capacity_0() -> None:
    events: list[H3Event] = []
    QpackEncoderStream().receive(b"\x20\x20", events)
    QpackEncoderStream().receive(b"", events)
    assert events == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x21", id="capacity 1"),
        pytest.param(b"\x3f\xe1\x1f", id="capacity 4096"),
        pytest.param(b"\xc0\x01x", id="insert with name reference"),
        pytest.param(b"\x41a\x01b", id="insert with literal name"),
        pytest.param(b"\x00", id="duplicate"),
        pytest.param(b"\x20\x20\x80\x20", id="after legal ones"),
    ],
)
def test_encoder_may_do_nothing_else(data: bytes) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        QpackEncoderStream().receive(data, [])
    assert caught.value.code is ErrorCode.QPACK_ENCODER_STREAM_ERROR


# Streams 0, 62, 63, 2**62 - 1.
CANCELLATIONS = b"\x40" + b"\x7e" + b"\x7f\x00" + b"\x7f" + b"\xc0" + b"\xff" * 7 + b"\x3f"


def test_decoder_may_cancel_streams() -> None:
    QpackDecoderStream().receive(CANCELLATIONS * 2, [])
    stream = QpackDecoderStream()
    for byte in CANCELLATIONS * 2:
        stream.receive(bytes([byte]), [])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80", id="section acknowledgment"),
        pytest.param(b"\x00", id="insert count increment of 0"),
        pytest.param(b"\x01", id="insert count increment"),
        pytest.param(CANCELLATIONS + b"\x01", id="after legal ones"),
        pytest.param(b"\x7f" + b"\xff" * 10, id="endless integer"),
    ],
)
def test_decoder_may_do_nothing_else(data: bytes) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        QpackDecoderStream().receive(data, [])
    assert caught.value.code is ErrorCode.QPACK_DECODER_STREAM_ERROR
