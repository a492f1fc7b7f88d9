"""HTTP/3 over the stream events of a QUIC engine, sans-IO.

*Owns*: frames, SETTINGS, QPACK without a dynamic table, the legal order of a request stream, the control stream and GOAWAY.
*May import*: pylsqpack, and the rooms below (``quic``, ``rpc``, ``wire``); today it needs none of them.
*Never*: a clock, a socket, asyncio, aioquic, anything of gRPC.
*Tested by*: ``tests/unit/h3`` (100 % branch coverage), ``tests/property/h3``.

Start at ``connection.py``; a request that arrives in one piece goes through ``whole_message.py``, any other through
``request_stream.py``.
"""
