"""``quicrpc serve``: the families over HTTP/3 and HTTP/2 on one port, until a signal comes."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer
from grpc_reflection.v1alpha import reflection

import quicrpc
import quicrpc.aio
from quicrpc.security.redaction import RedactErrors
from quicrpc.services.families import FAMILIES, load_family
from quicrpc.services.health import HealthService

from .connect import run
from .failure import fail, read_bytes

__all__ = ["serve"]

_HINT = "; `quicrpc certs` makes one for development"


class Listeners(StrEnum):
    """Which listeners to open."""

    both = "both"
    h3 = "h3"
    h2 = "h2"


_LISTENER_NAMES = {Listeners.both: "HTTP/3 (UDP) and HTTP/2 (TCP)", Listeners.h3: "HTTP/3 (UDP)", Listeners.h2: "HTTP/2 (TCP)"}


def serve(
    family: Annotated[list[str] | None, typer.Option(help=f"Family to serve, all if not given: {', '.join(FAMILIES)}.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 or :: for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="UDP and TCP port; 0 for a free one.")] = 8443,
    transport: Annotated[Listeners, typer.Option(help="Which listeners to open.")] = Listeners.both,
    cert: Annotated[Path, typer.Option(help="Certificate chain (PEM).")] = Path("certs/server.pem"),
    key: Annotated[Path, typer.Option(help="Key of the certificate (PEM).")] = Path("certs/server.key"),
    client_ca: Annotated[Path | None, typer.Option(help="Require client certificates signed by this authority (PEM).")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where families keep what they must keep.")] = Path("data"),
    grace: Annotated[float, typer.Option(min=0, help="Seconds that calls get to finish after SIGINT or SIGTERM.")] = 10.0,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve families over HTTP/3 and HTTP/2 on one port number.

    SIGINT or SIGTERM drains the server: it takes no new calls, gives those in flight the grace period, and exits with 0. A second
    signal ends it at once.
    """
    names = list(dict.fromkeys(family or FAMILIES))
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        fail(f"there is no family {unknown[0]!r}; there are {', '.join(FAMILIES)}")
    if log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        fail(f"--log-level cannot be {log_level!r}")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    pair = (read_bytes(key, "key", _HINT), read_bytes(cert, "certificate", _HINT))
    _check_pair(cert, key)
    credentials = quicrpc.ssl_server_credentials(
        [pair],
        None if client_ca is None else read_bytes(client_ca, "authority of client certificates"),
        client_ca is not None,
    )
    run(_serve(names, host, port, transport, credentials, data_dir, grace))


def _check_pair(cert: Path, key: Path) -> None:
    """End the command unless both files are what they should be and belong together."""
    try:
        # An empty password makes OpenSSL refuse a locked key instead of asking for its password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "not in PEM format").lower().replace("_", " ")
        fail(f"cannot use the certificate {cert} with the key {key}: {reason}")


async def _serve(
    families: list[str],
    host: str,
    port: int,
    transport: Listeners,
    credentials: grpc.ServerCredentials,
    data_dir: Path,
    grace: float,
) -> None:
    server = quicrpc.aio.server(interceptors=[RedactErrors()])
    health = HealthService(server)
    with ExitStack() as stack:
        services = _install(server, families, data_dir, stack)
        reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = server.add_secure_port(address, credentials, transport=transport.value)
            await server.start()
        except (OSError, RuntimeError) as error:
            fail(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}")
        await health.set_serving(services)
        signalled = _on_signals()
        _settle_memory()
        typer.echo(f"serving {', '.join(families)} on {address.rpartition(':')[0]}:{bound} over {_LISTENER_NAMES[transport]}")
        await signalled
        typer.echo(f"draining, at most {grace:g} s")
        await health.enter_graceful_shutdown()
        await server.stop(grace)
    typer.echo("stopped")


def _install(server: grpc.aio.Server, families: list[str], data_dir: Path, stack: ExitStack) -> list[str]:
    """Add the families' servicers to the server, leave their closing to the stack, and return their services' names."""
    services = []
    for name in families:
        family = load_family(name)
        try:
            close: Callable[[], None] = family.install(server, data_dir / name)
        except OSError as error:
            fail(f"cannot use the data directory {data_dir / name}: {error.strerror or error}")
        stack.callback(close)
        services += [service.full_name for file in family.DESCRIPTORS for service in file.services_by_name.values()]
    return services


def _settle_memory() -> None:
    """Have the garbage collector leave alone what was made at start and look less often: under load it cost 6 % of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _on_signals() -> asyncio.Future[None]:
    """Return what is done at the first SIGINT or SIGTERM; the second one has its usual effect."""
    loop = asyncio.get_running_loop()
    signalled = loop.create_future()
    signals = (signal.SIGINT, signal.SIGTERM)

    def receive() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        signalled.set_result(None)

    for number in signals:
        loop.add_signal_handler(number, receive)
    return signalled
