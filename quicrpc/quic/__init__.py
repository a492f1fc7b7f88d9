"""QUIC behind one seam.

Owns:       the seam (``engine.py``), the UDP socket (``udp.py``) and the engines behind the seam.
May import: ``rpc`` and ``wire``; an engine's library only in the engine's own room.
Never:      asyncio, clocks (time is an argument), HTTP/3.
Tested by:  ``tests/unit/quic``, ``tests/simulated``, ``tests/loopback/test_endpoint.py``.
"""
