"""Target strings: ``host:port``, ``dns:///host:port``, ``ipv4:a:p,b:p``, ``ipv6:[a]:p,[b]:p``."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from quicrpc.quic.engine import Address

__all__ = ["Target", "parse_target", "resolve"]

_DEFAULT_PORT = 443


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target.

    Attributes:
        text: The target as given.
        authority: What ``:authority`` carries unless an option says otherwise.
        server_name: What the server's certificate must carry unless an option says otherwise.
        endpoints: ``(host, port)`` pairs, names or literal addresses.
    """

    text: str
    authority: str
    server_name: str
    endpoints: tuple[tuple[str, int], ...]


def parse_target(text: str) -> Target:
    """Parse a target.

    Raises:
        ValueError: a scheme HTTP/3 cannot use, or a malformed address.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in ("ipv4", "ipv6"):
        endpoints = tuple(_endpoint(part, text) for part in rest.lstrip("/").split(","))
        host, port = endpoints[0]
        return Target(text, _authority(host, port), host, endpoints)
    if colon and scheme == "dns":
        rest = rest.removeprefix("//").partition("/")[2] if rest.startswith("//") else rest
    elif (colon and rest.startswith("//")) or scheme in ("unix", "unix-abstract", "vsock", "xds"):
        raise ValueError(f"target {text!r}: scheme {scheme!r} cannot be reached over HTTP/3; use dns:, ipv4:, ipv6: or host:port")
    else:
        rest = text
    host, port = _endpoint(rest, text)
    return Target(text, rest, host, ((host, port),))


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _endpoint(text: str, target: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":")
        if not bracket:
            raise ValueError(f"target {target!r}: missing ']'")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(f"target {target!r}: {text!r} is not host:port")
    return host, int(port) if port else _DEFAULT_PORT


async def resolve(target: Target) -> list[Address]:
    """Look up every address of a target, in the resolver's order of preference (RFC 6724).

    Raises:
        OSError: no address was found.
    """
    loop = asyncio.get_running_loop()
    addresses: dict[Address, None] = {}
    failure: OSError | None = None
    for host, port in target.endpoints:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            failure = OSError(f"DNS resolution failed for {host}: {error.strerror or error}")
            continue
        addresses.update((entry[4], None) for entry in found)
    if not addresses:
        raise failure or OSError(f"no address found for {target.text}")
    return list(addresses)
