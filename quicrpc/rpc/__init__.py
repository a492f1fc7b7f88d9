"""Words that client, server and services share.

Owns: method names and their options, deadlines, what administration may see of a server.
May import: ``wire``, grpc, protobuf. Never: asyncio, sockets, QUIC.
Tested by: ``tests/unit/rpc``.
"""
