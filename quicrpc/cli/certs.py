"""``quicrpc certs``: a certificate authority, a server and a client certificate for development."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from quicrpc.testing.certificates import CertificateAuthority

from .failure import fail

__all__ = ["certs", "write_certificates"]

_PUBLIC_MODE = 0o644
_KEY_MODE = 0o600


def certs(
    directory: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("certs"),
    name: Annotated[list[str] | None, typer.Option(help="DNS name or IP address of the server; may be repeated.")] = None,
    client_name: Annotated[str, typer.Option(help="Name of the client.")] = "quicrpc-client",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they are valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Make certificates for development: ca.pem, server.pem, server.key, client.pem, client.key.

    The authority's own key is not kept, so nobody can sign with it later.
    """
    try:
        paths = write_certificates(directory, name or ["localhost", "127.0.0.1", "::1"], client_name, days, force=force)
    except FileExistsError as error:
        fail(f"{error.filename} exists already; --force replaces it")
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    except ValueError as error:
        fail(f"cannot make a certificate: {error}")
    for path in paths:
        typer.echo(path)


def write_certificates(directory: Path, names: list[str], client_name: str, days: int, *, force: bool) -> list[Path]:
    """Write the five files and return their paths; keys get mode 0600.

    Raises: FileExistsError: one of them exists and ``force`` is not set; nothing was written. OSError. ValueError: a bad name.
    """
    authority = CertificateAuthority("quicrpc development CA")
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    server = authority.issue(names, not_after=until)
    client = authority.issue([client_name], client=True, server=False, not_after=until)
    files = {
        "ca.pem": (authority.certificate_pem, _PUBLIC_MODE),
        "server.pem": (server.certificate_chain, _PUBLIC_MODE),
        "server.key": (server.private_key, _KEY_MODE),
        "client.pem": (client.certificate_chain, _PUBLIC_MODE),
        "client.key": (client.private_key, _KEY_MODE),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for path in map(directory.joinpath, files):
        if path.exists() and not force:
            raise FileExistsError(None, "File exists", str(path))
    return [_write(directory / name, content, mode) for name, (content, mode) in files.items()]


def _write(path: Path, content: bytes, mode: int) -> Path:
    # A new file takes the place of the old one: the mode of an existing file would not change by opening it.
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)
    return path
