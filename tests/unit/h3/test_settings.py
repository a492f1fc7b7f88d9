"""The payload of SETTINGS."""

import pytest

from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.settings import decode_settings, default_settings, encode_settings


def test_what_we_send_switches_the_dynamic_table_off() -> None:
    payload = encode_settings(default_settings(16384))
    assert payload == bytes.fromhex("01 00 06 80004000 07 00")
    assert decode_settings(payload) == {1: 0, 6: 16384, 7: 0}


def test_unknown_settings_are_kept() -> None:
    assert decode_settings(encode_settings({0x21: 5, 0x33: 1})) == {0x21: 5, 0x33: 1}


def test_no_settings_at_all() -> None:
    assert decode_settings(b"") == {}


@pytest.mark.parametrize("identifier", [0, 2, 3, 4, 5])
def test_http2_settings_are_refused(identifier: int) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        decode_settings(bytes([identifier, 0]))
    assert caught.value.code is ErrorCode.H3_SETTINGS_ERROR


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(H3ConnectionError) as caught:
        decode_settings(b"\x06\x09\x06\x09")
    assert caught.value.code is ErrorCode.H3_SETTINGS_ERROR


@pytest.mark.parametrize("payload", [b"\x06", b"\x06\x40", b"\x40", b"\x01\x00\x06"])
def test_a_cut_off_setting_is_a_frame_error(payload: bytes) -> None:
    with pytest.raises(H3ConnectionError) as caught:
        decode_settings(payload)
    assert caught.value.code is ErrorCode.H3_FRAME_ERROR
