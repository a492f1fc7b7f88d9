from __future__ import annotations

import hashlib

import pytest

from quicrpc.services.content.domain import (
    DamagedFile,
    InvalidRequest,
    OffsetPastEnd,
    UploadCheck,
    byte_range,
    check_name,
    check_object_id,
)

LEGAL = [
    "a",
    "a/b.txt",
    ".hidden",
    "...",
    "a/..b/c..",
    "ü/日本",
    "a b",
    "C:",
    "a" * 255,
    "ü" * 127,
    "/".join(["a" * 255] * 16),
    "a\nb",
    "%2e%2e",
]
ILLEGAL = {
    "": "empty",
    "/": "absolute",
    "/etc/passwd": "absolute",
    "//a": "absolute",
    "..": r"\.\.",
    ".": r"\.",
    "../a": r"\.\.",
    "a/../b": r"\.\.",
    "a/..": r"\.\.",
    "./a": r"\.",
    "a/./b": r"\.",
    "a//b": "empty part",
    "a/": "empty part",
    "a\\b": "backslash",
    "..\\a": "backslash",
    "C:\\a": "backslash",
    "a\0b": "NUL",
    "\0": "NUL",
    "a" * 256: "longer than 255",
    "ü" * 128: "longer than 255",
    "a/" + "b" * 256: "longer than 255",
    "/".join(["a" * 255] * 16) + "/b": "longer than 4096",
    "\udce4": "Unicode",
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_names_say_why(name):
    with pytest.raises(InvalidRequest, match=ILLEGAL[name]):
        check_name(name)


@pytest.mark.parametrize("object_id", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "../" + "0" * 29, "0" * 32 + "\n"])
def test_illegal_object_ids(object_id):
    with pytest.raises(InvalidRequest):
        check_object_id(object_id)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, (0, 10)), (3, 4, (3, 7)), (3, 2**64 - 1, (3, 10)), (10, None, (10, 10)), (0, 0, (0, 0))],
)
def test_byte_range(offset, length, expected):
    assert byte_range(10, offset, length) == expected


def test_a_range_after_the_end():
    with pytest.raises(OffsetPastEnd):
        byte_range(10, 11, None)


def test_an_upload_as_announced():
    check = UploadCheck(6)
    check.add(b"abc")
    check.add(b"def")
    check.finish(hashlib.sha256(b"abcdef").digest())


def test_too_many_bytes_are_noticed_at_once():
    check = UploadCheck(3)
    with pytest.raises(DamagedFile, match="more bytes"):
        check.add(b"abcd")


@pytest.mark.parametrize(
    ("sha256", "error"), [(bytes(32), DamagedFile), (b"", InvalidRequest), (bytes(31), InvalidRequest), (bytes(64), InvalidRequest)]
)
def test_checksums_that_do_not_match(sha256, error):
    check = UploadCheck(0)
    with pytest.raises(error):
        check.finish(sha256)


def test_missing_bytes():
    with pytest.raises(DamagedFile, match="0 bytes came of the announced 1"):
        UploadCheck(1).finish(hashlib.sha256(b"").digest())


def test_a_size_that_no_file_has():
    with pytest.raises(InvalidRequest, match="size"):
        UploadCheck(2**63)
