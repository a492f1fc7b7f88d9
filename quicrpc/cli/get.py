"""``quicrpc get``: a file, or a whole directory, from the content family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import grpc
import grpc.aio
import typer

from quicrpc.gen.content.content_pb2 import FileInfo
from quicrpc.services.content.client import ContentClient
from quicrpc.services.content.domain import DamagedFile, InvalidRequest, check_name

from .connect import CaOption, CertOption, KeyOption, Target, Transport, TransportOption, open_channel, run
from .failure import fail
from .progress import progress_bar
from .put import InFlightOption

__all__ = ["get"]


def get(
    target: Target,
    name: Annotated[str, typer.Argument(help="Name of a file or of a directory on the server.")],
    destination: Annotated[Path | None, typer.Argument(help="Where to write it; the name's last part if not given.")] = None,
    in_flight: InFlightOption = 16,
    transport: TransportOption = Transport.auto,
    ca: CaOption = Path("certs/ca.pem"),
    cert: CertOption = None,
    key: KeyOption = None,
) -> None:
    """Fetch a file, or a directory with everything below it.

    What an interrupted run has fetched stays in files that end in .part; the next run goes on from there. Every file is compared
    with its checksum before it gets its name.
    """
    try:
        name = check_name(name.rstrip("/"))
    except InvalidRequest as error:
        fail(f"cannot fetch {name!r}: {error}")
    root = destination or Path(name.rpartition("/")[2])

    async def work() -> tuple[int, int]:
        async with open_channel(target, transport, ca, cert, key) as channel:
            client = ContentClient(channel)
            files = await _find(client, name, root)
            total_bytes = sum(info.size for info, _ in files)
            with progress_bar(f"get {name}", total_bytes) as on_bytes:
                await client.download_all(files, in_flight=in_flight, on_bytes=on_bytes)
            return len(files), total_bytes

    try:
        count, total_bytes = run(work())
    except (DamagedFile, InvalidRequest) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    typer.echo(f"{count} files, {total_bytes} bytes in {root}")


async def _find(client: ContentClient, name: str, root: Path) -> list[tuple[FileInfo, Path]]:
    try:
        return [(await client.stat(name), root)]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
    # A server's names are checked like a client's: none may lead out of the directory.
    prefix = f"{name}/"
    files = [(info, root / check_name(info.name).removeprefix(prefix)) async for info in client.files(prefix)]
    if not files:
        fail(f"the server has no file and no directory called {name}")
    return files
