"""What aioquic says, made safe to log, and qlog files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from aioquic.quic.logger import QuicFileLogger

__all__ = ["ConnectionLog", "log", "qlog_writer"]

log = logging.getLogger("quicrpc.quic")


class ConnectionLog:
    """Takes the place of aioquic's logger adapter.

    Upstream logs close reasons and other text the peer chose at INFO and WARNING, raw. Here everything is DEBUG, because anyone on
    the network can cause it, and control characters are escaped.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: object, *arguments: Any) -> None:
        """Log one line."""
        if log.isEnabledFor(logging.DEBUG):
            text = str(message) % arguments if arguments else str(message)
            log.debug("[%s] %s", self._name, text.encode("unicode_escape").decode("ascii"))

    info = warning = error = debug


def qlog_writer(directory: str | None) -> QuicFileLogger | None:
    """Return what writes one qlog file per connection, when it ends, into ``directory``.

    Raises:
        ValueError: There is no such directory.
    """
    if directory is None:
        return None
    if not Path(directory).is_dir():
        raise ValueError(f"qlog directory {directory!r} does not exist")
    return QuicFileLogger(directory)
