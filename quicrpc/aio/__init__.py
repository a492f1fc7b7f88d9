"""The public face: ``grpc.aio``'s vocabulary on HTTP/3.

Owns: ``server()``, ``secure_channel()``, ``insecure_channel()`` and the classes they return.
May import: ``server``, ``client`` and everything below. Never: ``services``, ``cli``, aioquic.
Tested by: ``tests/loopback``, ``tests/conformance``.
"""

from quicrpc.aio.channel import Channel, insecure_channel, secure_channel, transport_of
from quicrpc.aio.server import Server, server

__all__ = ["Channel", "Server", "insecure_channel", "secure_channel", "server", "transport_of"]
