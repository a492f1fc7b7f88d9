"""What aioquic says, made safe to log, and qlog files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

__all__ = ["ConnectionLog", "QlogDirectory", "log"]

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


class QlogDirectory(QuicLogger):
    """Writes one qlog file per connection, when it ends: ``<original connection ID>_<client or server>.qlog``."""

    def __init__(self, directory: str) -> None:
        """Raises ValueError when there is no such directory."""
        super().__init__()
        self._directory = Path(directory)
        if not self._directory.is_dir():
            raise ValueError(f"qlog directory {directory!r} does not exist")

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """Write a trace and forget it."""
        self._traces.remove(trace)
        content = trace.to_dict()
        name = f"{content['common_fields']['ODCID']}_{content['vantage_point']['type']}.qlog"
        document = {"qlog_format": "JSON", "qlog_version": QLOG_VERSION, "traces": [content]}
        (self._directory / name).write_text(json.dumps(document))
