"""gRPC over HTTP/3 for Python: grpcio's generated code on QUIC, with a real grpcio HTTP/2 listener on the same port number."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
