"""gRPC over HTTP/3 for Python: grpcio's generated code on QUIC, with a real grpcio HTTP/2 listener on the same port number.

``quicrpc.aio`` has the vocabulary of ``grpc.aio``; credentials are made with the functions here, whose arguments are grpcio's.
"""

from __future__ import annotations

from quicrpc.security.credentials import ssl_channel_credentials, ssl_server_credentials

__version__ = "0.1.0"
__all__ = ["__version__", "ssl_channel_credentials", "ssl_server_credentials"]
