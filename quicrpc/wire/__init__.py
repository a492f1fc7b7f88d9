"""gRPC bytes to values and back: messages, metadata, timeouts, status, and what the field sections of a call mean.

*Owns:* Length-Prefixed-Message framing, message compression, custom metadata, ``grpc-timeout``, ``grpc-status`` and
``grpc-message``, the request and response fields of gRPC, and the two protocol errors.
*May import:* grpc, for ``StatusCode`` and ``Compression`` only.
*Never:* a clock, I/O, asyncio, HTTP/3 frames, protobuf, state shared between calls other than bounded caches.
*Tested by:* tests/unit/wire (100 % branch coverage), tests/property/wire.

Peers' bytes raise RemoteProtocolError and nothing else; our callers' values raise LocalProtocolError.
"""
