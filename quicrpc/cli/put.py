"""``quicrpc put``: a file, or a whole directory, to the content family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quicrpc.services.content.client import ContentClient, tree_files
from quicrpc.services.content.domain import InvalidRequest, check_name

from .connect import CaOption, CertOption, KeyOption, Target, Transport, TransportOption, open_channel, run
from .failure import fail
from .progress import progress_bar

__all__ = ["InFlightOption", "put"]

InFlightOption = Annotated[int, typer.Option(min=1, max=100, help="Files on the way at the same time.")]


def put(
    target: Target,
    path: Annotated[Path, typer.Argument(help="File or directory to send.")],
    name: Annotated[str | None, typer.Option(help="Name on the server; the path's last part if not given.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Name of directories to leave out; may be repeated.")] = None,
    in_flight: InFlightOption = 16,
    transport: TransportOption = Transport.auto,
    ca: CaOption = Path("certs/ca.pem"),
    cert: CertOption = None,
    key: KeyOption = None,
) -> None:
    """Send a file, or a directory with everything below it. Each file is stored whole and verified, or not at all."""
    try:
        wanted = check_name(name or path.resolve().name)
        files = tree_files(path, wanted, skip=skip or ()) if path.is_dir() else [(path, wanted)]
        total_bytes = sum(file.stat().st_size for file, _ in files)
    except InvalidRequest as error:
        fail(f"cannot send {path}: {error}")
    except OSError as error:
        fail(f"cannot read {error.filename}: {error.strerror}")

    async def work() -> None:
        async with open_channel(target, transport, ca, cert, key) as channel:
            with progress_bar(f"put {wanted}", total_bytes) as on_bytes:
                await ContentClient(channel).upload_all(files, in_flight=in_flight, on_bytes=on_bytes)

    try:
        run(work())
    except OSError as error:
        fail(f"cannot read {error.filename}: {error.strerror}")
    typer.echo(f"{len(files)} files, {total_bytes} bytes sent as {wanted}")
