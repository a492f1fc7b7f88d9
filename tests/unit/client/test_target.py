from __future__ import annotations

import pytest

from quicrpc.client.resolver import parse_target, resolve


@pytest.mark.parametrize(
    ("text", "endpoints", "authority", "server_name"),
    [
        ("localhost:8443", (("localhost", 8443),), "localhost:8443", "localhost"),
        ("localhost", (("localhost", 443),), "localhost", "localhost"),
        ("127.0.0.1:1", (("127.0.0.1", 1),), "127.0.0.1:1", "127.0.0.1"),
        ("[::1]:2", (("::1", 2),), "[::1]:2", "::1"),
        ("::1", (("::1", 443),), "::1", "::1"),
        ("dns:///example.com:3", (("example.com", 3),), "example.com:3", "example.com"),
        ("dns://1.1.1.1/example.com:3", (("example.com", 3),), "example.com:3", "example.com"),
        ("dns:example.com", (("example.com", 443),), "example.com", "example.com"),
        ("ipv4:1.2.3.4:5,6.7.8.9:10", (("1.2.3.4", 5), ("6.7.8.9", 10)), "1.2.3.4:5", "1.2.3.4"),
        ("ipv6:[::1]:5,[::2]:6", (("::1", 5), ("::2", 6)), "[::1]:5", "::1"),
    ],
)
def test_targets(text: str, endpoints: object, authority: str, server_name: str) -> None:
    target = parse_target(text)
    assert (target.endpoints, target.authority, target.server_name) == (endpoints, authority, server_name)


@pytest.mark.parametrize(
    "text", ["", "host:0", "host:65536", "host:port", "[::1:5", "unix:/tmp/x", "xds:///a", "http://a/b", "ipv4:"]
)
def test_what_cannot_be_a_target(text: str) -> None:
    with pytest.raises(ValueError, match="target"):
        parse_target(text)


async def test_literal_addresses_need_no_name_server() -> None:
    assert await resolve(parse_target("ipv4:127.0.0.1:5,127.0.0.2:6")) == [("127.0.0.1", 5), ("127.0.0.2", 6)]
    assert (await resolve(parse_target("[::1]:7")))[0][:2] == ("::1", 7)
