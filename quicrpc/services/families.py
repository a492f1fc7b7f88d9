"""The registry of service families. A new family is one more line in :data:`FAMILIES` and a module that is a :class:`Family`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, cast

import grpc.aio
from google.protobuf.descriptor import FileDescriptor

__all__ = ["FAMILIES", "Family", "load_family"]

#: Name -> module. Modules are imported when the family is first used.
FAMILIES: Mapping[str, str] = {
    "content": "quicrpc.services.content.family",
    "echo": "quicrpc.services.echo.family",
}


class Family(Protocol):
    """What a family's module has."""

    @property
    def DESCRIPTORS(self) -> tuple[FileDescriptor, ...]:  # a module's constant
        """The files that define the family's services."""

    @property
    def install(self) -> Callable[[grpc.aio.Server, Path], Callable[[], None]]:
        """``install(server, data_dir)``: add the family's servicers to a server that is not started.

        ``data_dir`` is the family's own directory for what it must keep; it may not exist yet. Returns what to call, once, after
        the server has stopped. Raises OSError if the directory cannot be used.
        """


def load_family(name: str) -> Family:
    """Import a family. Raises KeyError for a name that is not in :data:`FAMILIES`."""
    return cast(Family, importlib.import_module(FAMILIES[name]))
