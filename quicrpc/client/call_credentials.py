"""Call credentials: metadata that a plugin supplies for each call. Made with grpcio's own functions."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from quicrpc.rpc.metadata import Entry, checked_metadata

__all__ = ["CallCredentialsError", "call_credentials_metadata", "plugins_of"]


class CallCredentialsError(Exception):
    """A plugin failed. ``code`` and ``details`` are the call's status, as gRPC core reports it."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def plugins_of(handles: tuple[Any, ...]) -> list[Any]:
    """Flatten grpcio's call-credential handles into their metadata plugins, in order.

    Raises:
        ValueError: a kind that is no metadata plugin.
    """
    plugins: list[Any] = []
    for handle in handles:
        if hasattr(handle, "_call_credentialses"):
            plugins.extend(plugins_of(tuple(handle._call_credentialses)))
        elif hasattr(handle, "_metadata_plugin"):
            plugins.append(handle._metadata_plugin)
        else:
            raise ValueError(f"{type(handle).__name__} cannot be used over HTTP/3: it carries no metadata plugin")
    return plugins


async def call_credentials_metadata(plugins: list[Any], authority: str, path: str) -> list[Entry]:
    """Ask each plugin for its metadata. Plugins may block, so they run in a thread, as under grpcio.

    Raises:
        CallCredentialsError: UNAVAILABLE when a plugin reports a failure or raises.
    """
    service, _, method = path.rpartition("/")
    service_url = f"https://{authority}{service}"
    entries: list[Entry] = []
    loop = asyncio.get_running_loop()
    for plugin in plugins:
        answer: asyncio.Future[tuple[Any, Any, Any]] = loop.create_future()

        def receive(metadata: Any, code: Any, details: Any, answer: asyncio.Future[tuple[Any, Any, Any]] = answer) -> None:
            def settle() -> None:
                if not answer.done():
                    answer.set_result((metadata, code, details))

            loop.call_soon_threadsafe(settle)

        try:
            await loop.run_in_executor(None, plugin, service_url, method, receive)
            metadata, code, details = await answer
        except Exception as error:
            raise CallCredentialsError(
                grpc.StatusCode.UNAVAILABLE, f"Getting metadata from plugin failed with error: {type(error).__name__}: {error}"
            ) from error
        if code:
            raise CallCredentialsError(grpc.StatusCode.UNAVAILABLE, f"Getting metadata from plugin failed with error: {details}")
        try:
            entries.extend(checked_metadata(metadata))
        except (TypeError, ValueError) as error:
            raise CallCredentialsError(grpc.StatusCode.UNAVAILABLE, f"Illegal metadata from plugin: {error}") from error
    return entries
