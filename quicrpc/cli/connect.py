"""How commands reach a server: the options they share, the channel, and the event loop to run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import grpc.aio
import typer

import quicrpc
import quicrpc.aio

from .failure import fail, fail_with_status, read_bytes

__all__ = ["CaOption", "CertOption", "KeyOption", "Target", "Transport", "TransportOption", "open_channel", "run"]

_T = TypeVar("_T")

#: Somebody waits in front of a terminal: an address that does not answer is given up sooner than a service would.
_OPTIONS = (("quicrpc.connect_timeout_ms", 5000),)


class Transport(StrEnum):
    """Which protocol a channel speaks."""

    auto = "auto"
    h3 = "h3"
    h2 = "h2"


Target = Annotated[str, typer.Argument(help="host:port of the server.", metavar="TARGET")]
TransportOption = Annotated[Transport, typer.Option(help="HTTP/3, HTTP/2, or whichever answers.")]
CaOption = Annotated[Path, typer.Option("--ca", help="Certificate authority to trust (PEM).")]
CertOption = Annotated[Path | None, typer.Option("--cert", help="Client certificate (PEM), if the server asks for one.")]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Key of the client certificate (PEM).")]


def open_channel(
    target: str,
    transport: Transport,
    ca: Path,
    cert: Path | None = None,
    key: Path | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> quicrpc.aio.Channel:
    """Return a channel; it connects at the first call. Call it on the event loop. Files that cannot be read end the command."""
    if (cert is None) != (key is None):
        fail("--cert and --key go together")
    credentials = quicrpc.ssl_channel_credentials(
        read_bytes(ca, "certificate authority", "; `quicrpc certs` makes one for development"),
        None if key is None else read_bytes(key, "client key"),
        None if cert is None else read_bytes(cert, "client certificate"),
    )
    try:
        return quicrpc.aio.secure_channel(target, credentials, [*_OPTIONS, *options], transport=transport.value)
    except ValueError as error:
        fail(str(error))


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine, on uvloop if it is installed. A call's error ends the command with its status."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if find_spec("uvloop") is not None:
        factory = import_module("uvloop").new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)
    except grpc.aio.AioRpcError as error:
        fail_with_status(error)
    except KeyboardInterrupt:
        fail("interrupted", 130)
