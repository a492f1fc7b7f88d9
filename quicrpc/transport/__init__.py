"""The only event loop and the only clock.

Owns: driving an endpoint from asyncio. May import: ``h3``, ``quic``, ``rpc``, ``wire``, asyncio. Never: gRPC calls, aioquic.
Tested by: ``tests/unit/transport``, ``tests/loopback``.
"""
