"""Calling.

Owns: targets and their addresses, connections over HTTP/3 and grpcio's HTTP/2, the choice between them, calls.
May import: ``security``, ``observability``, ``transport``, ``h3``, ``quic.engine``, ``quic.udp``, ``rpc``, ``wire``.
Never: ``server``, ``aio``, aioquic.
Tested by: ``tests/unit/client``, ``tests/loopback``, ``tests/conformance``.
"""
