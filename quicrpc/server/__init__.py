"""Serving calls.

Owns: the HTTP/3 listener, grpcio's HTTP/2 listener, dispatch of calls to servicers, drain.
May import: ``security``, ``observability``, ``transport``, ``h3``, ``quic.engine``, ``rpc``, ``wire``.
Never: ``client``, ``aio``, aioquic.
Tested by: ``tests/unit/server``, ``tests/loopback``, ``tests/conformance``.
"""
