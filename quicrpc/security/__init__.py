"""Who is calling, what they may do, and what we show of ourselves.

Owns: credentials, identities, early-data rule, authentication, authorisation, limits, audit.
May import: ``quic.engine``, ``rpc``, ``wire``, grpc, cryptography. Never: sockets, HTTP/3.
Tested by: ``tests/unit/security``.
"""
