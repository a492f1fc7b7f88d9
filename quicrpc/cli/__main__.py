"""The ``quicrpc`` command: its sub-commands, and what all of them do about errors."""

from __future__ import annotations

from typing import Annotated

import typer

from quicrpc import __version__

from .call import call
from .certs import certs
from .demo import demo
from .get import get
from .put import put
from .serve import serve

__all__ = ["app", "main"]

app = typer.Typer(
    name="quicrpc",
    help="gRPC over HTTP/3: serve, call and copy files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, call, put, get, certs, demo):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quicrpc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of the command as a whole."""


def main() -> None:
    """Run the command line; ends the process."""
    app()


if __name__ == "__main__":
    main()
