"""Which field sections are well-formed."""

import pytest

from quicrpc.h3.fields import (
    FieldLine,
    MalformedSection,
    request_section,
    response_section,
    section_bytes,
    trailer_section,
)

METHOD, SCHEME, AUTHORITY, PATH = (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")
REQUEST = [METHOD, SCHEME, AUTHORITY, PATH]
CONNECT = (b":method", b"CONNECT")
OK = (b":status", b"200")


def test_a_request_keeps_its_lines_in_order() -> None:
    lines = [*REQUEST, (b"te", b"trailers"), (b"b", b"1"), (b"a", b"\xff ok"), (b"b", b"")]
    section = request_section(lines)
    assert section.fields == tuple(lines)
    assert (section.content_length, section.interim, section.memo) == (None, False, None)


def test_host_stands_for_authority() -> None:
    request_section([METHOD, SCHEME, PATH, (b"host", b"x")])
    request_section([*REQUEST, (b"host", b"x")])


def test_connect_has_authority_alone() -> None:
    request_section([CONNECT, (b":authority", b"x:443")])


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([SCHEME, AUTHORITY, PATH], id="no :method"),
        pytest.param([(b":method", b""), SCHEME, AUTHORITY, PATH], id="empty :method"),
        pytest.param([(b":method", b"G T"), SCHEME, AUTHORITY, PATH], id="illegal :method"),
        pytest.param([METHOD, AUTHORITY, PATH], id="no :scheme"),
        pytest.param([METHOD, (b":scheme", b""), AUTHORITY, PATH], id="empty :scheme"),
        pytest.param([METHOD, SCHEME, AUTHORITY], id="no :path"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"")], id="empty :path"),
        pytest.param([METHOD, SCHEME, PATH], id="neither :authority nor host"),
        pytest.param([METHOD, SCHEME, (b":authority", b""), PATH, (b"host", b"x")], id="empty :authority"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"")], id="empty host"),
        pytest.param([*REQUEST, (b"host", b"y")], id="host differs"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"x"), (b"host", b"x")], id="host twice"),
        pytest.param([METHOD, SCHEME, PATH, (b":authority", b"me@x")], id="userinfo"),
        pytest.param([METHOD, *REQUEST], id="duplicate"),
        pytest.param([*REQUEST, (b":foo", b"x")], id="unknown"),
        pytest.param([*REQUEST, (b":protocol", b"websocket")], id="extended CONNECT is not offered"),
        pytest.param([*REQUEST, OK], id=":status in a request"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b"a", b"x"), PATH], id="late"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b"user-agent", b"x"), PATH], id="late, after a frequent name"),
        pytest.param([CONNECT, AUTHORITY, SCHEME], id="CONNECT with :scheme"),
        pytest.param([CONNECT, AUTHORITY, PATH], id="CONNECT with :path"),
        pytest.param([CONNECT], id="CONNECT without :authority"),
        pytest.param([CONNECT, (b"host", b"x")], id="CONNECT with host alone"),
        pytest.param([], id="nothing"),
    ],
)
def test_malformed_requests(lines: list[FieldLine]) -> None:
    with pytest.raises(MalformedSection):
        request_section(lines)


@pytest.mark.parametrize(
    "line",
    [
        (b"connection", b"close"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
        (b"Upper", b"x"),
        (b"", b"x"),
        (b"a b", b"x"),
        (b"a\xff", b"x"),
        (b"a:", b"x"),
        (b"a\r\nb", b"x"),
        (b"a", b"x\r"),
        (b"a", b"x\ny"),
        (b"a", b"x\0y"),
        (b"content-type", b"x\ny"),
        (b"a", b" x"),
        (b"a", b"x\t"),
        (b"content-type", b" x"),
    ],
)
def test_lines_that_no_section_may_have(line: FieldLine) -> None:
    for validate, lines in ((request_section, REQUEST), (response_section, [OK]), (trailer_section, [])):
        validate(lines)
        with pytest.raises(MalformedSection):
            validate([*lines, line])


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1, 1", b"0x1", b"1_0", b"\xc2\xb2", b"1" * 20])
def test_content_length_is_one_number(value: bytes) -> None:
    with pytest.raises(MalformedSection):
        request_section([*REQUEST, (b"content-length", value)])


def test_content_length() -> None:
    assert request_section([*REQUEST, (b"content-length", b"0042")]).content_length == 42
    assert response_section([OK, (b"content-length", b"0")]).content_length == 0
    with pytest.raises(MalformedSection):
        request_section([*REQUEST, (b"content-length", b"1"), (b"content-length", b"1")])


@pytest.mark.parametrize(("status", "interim"), [(b"100", True), (b"103", True), (b"200", False), (b"599", False), (b"999", False)])
def test_status(status: bytes, interim: bool) -> None:
    assert response_section([(b":status", status)]).interim is interim


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [(b"a", b"x")],
        [OK, OK],
        [OK, METHOD],
        [(b"a", b"x"), OK],
        *([(b":status", status)] for status in (b"", b"20", b"2000", b"2x0", b"099", b"101", b"-20")),
    ],
)
def test_malformed_responses(lines: list[FieldLine]) -> None:
    with pytest.raises(MalformedSection):
        response_section(lines)


def test_not_modified_describes_content_it_does_not_carry() -> None:
    assert response_section([(b":status", b"304"), (b"content-length", b"42")]).content_length is None


def test_trailers_have_no_pseudo_headers() -> None:
    assert trailer_section([(b"grpc-status", b"0")]).fields == ((b"grpc-status", b"0"),)
    for line in (OK, PATH):
        with pytest.raises(MalformedSection):
            trailer_section([line])


def test_size_counts_32_bytes_a_line() -> None:
    assert section_bytes([]) == 0
    assert section_bytes([(b"ab", b"c"), (b"d", b"")]) == 3 + 1 + 64
