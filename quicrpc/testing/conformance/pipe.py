"""The runner's pipe: messages with a length of four bytes, most significant first, on standard input and output."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

__all__ = ["open_input", "read_message", "write_message"]

_LENGTH_BYTES = 4


async def open_input() -> asyncio.StreamReader:
    """Return standard input, which must be a pipe."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def read_message(reader: asyncio.StreamReader, message_type: Any) -> Any:
    """Return the next message; None at the end of the input. Raises asyncio.IncompleteReadError inside a message."""
    try:
        length = await reader.readexactly(_LENGTH_BYTES)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    return message_type.FromString(await reader.readexactly(int.from_bytes(length, "big")))


def write_message(message: Any) -> None:
    """Write one message to standard output."""
    data = message.SerializeToString()
    sys.stdout.buffer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    sys.stdout.buffer.flush()
