"""Asks a program of the Connect conformance suite for HTTP/3 where the runner asked for HTTP/2.

``python http3_requests.py client|server COMMAND...`` starts the command and passes its standard input on, message by message.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any, BinaryIO

from connectrpc.conformance.v1 import client_compat_pb2, config_pb2, server_compat_pb2

_TYPES = {"client": client_compat_pb2.ClientCompatRequest, "server": server_compat_pb2.ServerCompatRequest}


def ask_for_http3(message: Any) -> None:
    assert message.http_version == config_pb2.HTTP_VERSION_2
    message.http_version = config_pb2.HTTP_VERSION_3
    for header in getattr(message, "request_headers", ()):
        # The reference server compares this with what it sees.
        if header.name == "x-expect-http-version":
            header.value[:] = ["3"]


def copy_messages(source: BinaryIO, target: BinaryIO, message_type: Any) -> None:
    while length := source.read(4):
        message = message_type.FromString(source.read(int.from_bytes(length, "big")))
        ask_for_http3(message)
        data = message.SerializeToString()
        target.write(len(data).to_bytes(4, "big") + data)
        target.flush()


def main() -> int:
    program = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: program.send_signal(received))
    assert program.stdin is not None
    copy_messages(sys.stdin.buffer, program.stdin, _TYPES[sys.argv[1]])
    program.stdin.close()
    code = program.wait()
    return 0 if code == -signal.SIGTERM else code


if __name__ == "__main__":
    sys.exit(main())
