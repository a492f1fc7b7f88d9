"""The engine made of aioquic's ``QuicConnection``.

Owns:       everything that knows aioquic: its private names, its faults and the limits it lacks.
May import: ``quic.engine``, aioquic, cryptography, service_identity, OpenSSL.
Never:      asyncio (nor ``aioquic.asyncio``, ``aioquic.h3``), a socket, a clock.
Tested by:  ``tests/unit/quic/aioquic`` (``test_contract.py`` names every private attribute relied upon), ``tests/simulated``.
"""

from __future__ import annotations

from quicrpc.quic.aioquic.endpoint import AioquicEndpoint
from quicrpc.quic.aioquic.tickets import MemoryTicketStore

__all__ = ["AioquicEndpoint", "MemoryTicketStore"]
