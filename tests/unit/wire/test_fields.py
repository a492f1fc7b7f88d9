from __future__ import annotations

import dataclasses

import grpc
import pytest

from quicrpc.wire.errors import RemoteProtocolError
from quicrpc.wire.fields import (
    RequestHead,
    ResponseHead,
    TrailingStatus,
    http_error_fields,
    parse_request_head,
    parse_response_head,
    parse_trailers,
    request_fields,
    response_fields,
    trailer_fields,
    trailers_only_fields,
)

StatusCode = grpc.StatusCode

REQUEST = {
    b":method": b"POST",
    b":scheme": b"https",
    b":authority": b"example.com:8443",
    b":path": b"/echo.Echo/Unary",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}
RESPONSE = {b":status": b"200", b"content-type": b"application/grpc"}


def request(changes: dict[bytes, bytes | None]) -> RequestHead:
    return parse_request_head([(name, value) for name, value in {**REQUEST, **changes}.items() if value is not None])


def response(changes: dict[bytes, bytes | None]) -> ResponseHead:
    return parse_response_head([(name, value) for name, value in {**RESPONSE, **changes}.items() if value is not None])


def test_plain_request() -> None:
    assert request({}) == RequestHead("/echo.Echo/Unary", "example.com:8443", None, "identity", (), "", "", ())


def test_full_request() -> None:
    head = request(
        {
            b"content-type": b"application/grpc+proto",
            b"user-agent": b"test/1",
            b"grpc-timeout": b"100m",
            b"grpc-encoding": b"gzip",
            b"grpc-accept-encoding": b"identity, gzip,,foo ",
            b"x": b"1",
            b"y-bin": b"YQ",
        }
    )
    metadata = (("user-agent", "test/1"), ("x", "1"), ("y-bin", b"a"))
    assert head == RequestHead(
        "/echo.Echo/Unary", "example.com:8443", 0.1, "gzip", ("identity", "gzip", "foo"), "proto", "test/1", metadata
    )


def test_heads_are_values() -> None:
    head = request({})
    assert not hasattr(head, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        head.method = "/other"  # type: ignore[misc]  # the assignment that must fail


def test_missing_te_is_tolerated() -> None:
    assert request({b"te": None}) == request({})


def test_host_stands_in_for_authority() -> None:
    assert request({b":authority": None, b"host": b"h"}).authority == "h"
    assert request({b":authority": b"a", b"host": b"a"}).metadata == ()
    assert request({b":authority": None}).authority == ""


def test_path_is_taken_as_it_came() -> None:
    assert request({b":path": b"/%2F\xff//"}).method == "/%2F\xff//"
    assert request({b":path": None}).method == ""


@pytest.mark.parametrize("method", [b"GET", b"post", b"", None])
def test_wrong_method_is_405(method: bytes | None) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request({b":method": method, b"grpc-timeout": b"bad"})
    assert caught.value.http_status == 405


@pytest.mark.parametrize(
    ("content_type", "subtype"),
    [
        (b"application/grpc", ""),
        (b"application/grpc;charset=utf-8", ""),
        (b"application/grpc ; a=b; c=d", ""),
        (b"Application/GRPC", ""),
        (b"application/grpc+proto", "proto"),
        (b"application/grpc+proto;a=b", "proto"),
    ],
)
def test_content_types(content_type: bytes, subtype: str) -> None:
    assert request({b"content-type": content_type}).content_subtype == subtype
    assert response({b"content-type": content_type}).is_grpc


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"application/grpc+json",
        b"application/grpc+",
        b"application/grpc-web",
        b"application/grpc-web+proto",
        b"application/grpcx",
        b"application/json",
        b"text/html;application/grpc",
        b"\xff",
    ],
)
def test_other_content_types_are_415(content_type: bytes | None) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request({b"content-type": content_type, b"grpc-timeout": b"bad", b"x-bin": b"!"})
    assert caught.value.http_status == 415
    assert not response({b"content-type": content_type}).is_grpc


def test_malformed_timeout_is_internal() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request({b"grpc-timeout": b"5 S"})
    assert (caught.value.code, caught.value.http_status) == (StatusCode.INTERNAL, None)


def test_bad_binary_metadata_is_internal() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request({b"x-bin": b"!"})
    assert (caught.value.code, caught.value.http_status) == (StatusCode.INTERNAL, None)


def test_unknown_request_encoding_is_unimplemented_and_names_the_known() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request({b"grpc-encoding": b"snappy" * 1000})
    assert caught.value.code is StatusCode.UNIMPLEMENTED
    assert "identity,deflate,gzip" in caught.value.details
    assert len(caught.value.details) < 150


def test_plain_response() -> None:
    assert response({}) == ResponseHead(200, "identity", (), (), True, "application/grpc", "")


def test_full_response() -> None:
    head = response({b"grpc-encoding": b"gzip", b"grpc-accept-encoding": b"gzip", b"server": b"s", b"x": b"1"})
    assert head == ResponseHead(200, "gzip", ("gzip",), (("x", "1"),), True, "application/grpc", "s")


def test_second_server_field_is_metadata() -> None:
    fields = [(b":status", b"200"), (b"server", b"transport"), (b"x", b"1"), (b"server", b"application"), (b"grpc-status", b"0")]
    head = parse_response_head(fields)
    assert (head.server, head.metadata) == ("transport", (("x", "1"), ("server", "application")))
    assert parse_trailers(fields) == TrailingStatus(StatusCode.OK, "", (("x", "1"), ("server", "application")))


def test_response_that_is_not_grpc() -> None:
    head = response({b":status": b"503", b"content-type": b"text/html", b"content-encoding": b"br", b"grpc-encoding": b"snappy"})
    assert (head.http_status, head.is_grpc, head.content_type, head.encoding) == (503, False, "text/html", "identity")


def test_unknown_response_encoding_is_internal() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        response({b"grpc-encoding": b"snappy"})
    assert caught.value.code is StatusCode.INTERNAL


@pytest.mark.parametrize("status", [None, b"", b"20", b"2000", b"2x0", b"-20"])
def test_response_without_http_status_is_internal(status: bytes | None) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        response({b":status": status})
    assert caught.value.code is StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"grpc-status", b"0")], TrailingStatus(StatusCode.OK, "", ())),
        ([(b"grpc-status", b"0"), (b"a", b"b")], TrailingStatus(StatusCode.OK, "", (("a", "b"),))),
        ([(b"grpc-status", b"5"), (b"grpc-message", b"no%20%C3%A9")], TrailingStatus(StatusCode.NOT_FOUND, "no é", ())),
        ([(b"grpc-status", b"13"), (b"server", b"s")], TrailingStatus(StatusCode.INTERNAL, "", (("server", "s"),))),
        ([(b"grpc-status", b"99"), (b"grpc-message", b"new")], TrailingStatus(StatusCode.UNKNOWN, "new", ())),
        ([], None),
        ([(b"grpc-message", b"x")], None),
    ],
)
def test_parse_trailers(fields: list[tuple[bytes, bytes]], status: TrailingStatus | None) -> None:
    assert parse_trailers(fields) == status


@pytest.mark.parametrize("number", [b"", b"OK", b"-1", b"+1", b" 1", b"1_0", b"\xb2", b"9" * 5000])
def test_status_that_is_no_number_is_unknown(number: bytes) -> None:
    status = parse_trailers([(b"grpc-status", number), (b"grpc-message", b"x"), (b"a", b"b")])
    assert status is not None
    assert (status.code, status.metadata) == (StatusCode.UNKNOWN, (("a", "b"),))
    assert "is not a number" in status.details
    assert len(status.details) < 100


def test_request_fields_in_order() -> None:
    assert request_fields(
        method="/echo.Echo/Unary",
        authority="example.com",
        timeout_s=0.25,
        encoding="gzip",
        accept_encoding="identity,gzip",
        user_agent="test/1",
        metadata_fields=[(b"a", b"b")],
    ) == [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"example.com"),
        (b":path", b"/echo.Echo/Unary"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"test/1"),
        (b"grpc-accept-encoding", b"identity,gzip"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-timeout", b"250000u"),
        (b"a", b"b"),
    ]


def test_builders_return_lists_of_their_own() -> None:
    def build() -> list[list[tuple[bytes, bytes]]]:
        return [
            request_fields(method="/a/b", authority="a", accept_encoding="gzip", user_agent="u"),
            response_fields(accept_encoding="gzip", server="s"),
            trailer_fields(StatusCode.OK, ""),
            trailers_only_fields(StatusCode.OK, "", server="s"),
            http_error_fields(415, StatusCode.INTERNAL, "", server="s"),
        ]

    before = build()
    for fields in build():
        fields.append((b"x", b"y"))
    assert build() == before


def test_response_fields() -> None:
    assert response_fields(accept_encoding="gzip", server="s") == [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"server", b"s"),
        (b"grpc-accept-encoding", b"gzip"),
    ]
    assert response_fields(encoding="gzip", accept_encoding="gzip", server="s", metadata_fields=[(b"a", b"b")])[-2:] == [
        (b"grpc-encoding", b"gzip"),
        (b"a", b"b"),
    ]


def test_trailer_fields() -> None:
    assert trailer_fields(StatusCode.OK, "") == [(b"grpc-status", b"0")]
    assert trailer_fields(StatusCode.ABORTED, "50 % é", [(b"a", b"b")]) == [
        (b"grpc-status", b"10"),
        (b"grpc-message", b"50 %25 %C3%A9"),
        (b"a", b"b"),
    ]


def test_trailers_only_fields() -> None:
    assert trailers_only_fields(StatusCode.NOT_FOUND, "no", server="s", metadata_fields=[(b"a", b"b")]) == [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"server", b"s"),
        (b"grpc-status", b"5"),
        (b"grpc-message", b"no"),
        (b"a", b"b"),
    ]
    fields = trailers_only_fields(StatusCode.UNIMPLEMENTED, "", server="s", accept_encoding="gzip")
    assert (b"grpc-accept-encoding", b"gzip") in fields
    assert parse_trailers(fields) == TrailingStatus(StatusCode.UNIMPLEMENTED, "", ())


def test_http_error_fields_carry_both_statuses() -> None:
    assert http_error_fields(415, StatusCode.INTERNAL, "no", server="s") == [
        (b":status", b"415"),
        (b"content-type", b"application/grpc"),
        (b"server", b"s"),
        (b"grpc-status", b"13"),
        (b"grpc-message", b"no"),
    ]
    assert (b"allow", b"POST") in http_error_fields(405, StatusCode.INTERNAL, "no", server="s")
