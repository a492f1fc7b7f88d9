"""How commands fail: one sentence on standard error, an exit code, no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import grpc
import grpc.aio
import typer

__all__ = ["STATUS_EXIT_BASE", "fail", "fail_with_status", "read_bytes", "status_line"]

#: A call's status is added to this, as grpcurl and buf do: 64 + 5 for NOT_FOUND.
STATUS_EXIT_BASE = 64


def fail(sentence: str, exit_code: int = 1) -> NoReturn:
    """End the command."""
    typer.echo(f"quicrpc: {sentence}", err=True)
    raise typer.Exit(exit_code)


def status_line(code: grpc.StatusCode, details: str | None) -> str:
    """Return ``CODE: details``, fit for a terminal: what a server says cannot move the cursor."""
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in details or "")
    return f"{code.name}: {text}" if text else code.name


def fail_with_status(error: grpc.aio.AioRpcError) -> NoReturn:
    """End the command with a call's status."""
    fail(status_line(error.code(), error.details()), STATUS_EXIT_BASE + error.code().value[0])


def read_bytes(path: Path, what: str, hint: str = "") -> bytes:
    """Return a file's bytes, or end the command saying that ``what`` cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"cannot read the {what} {path}: {error.strerror}{hint}")
