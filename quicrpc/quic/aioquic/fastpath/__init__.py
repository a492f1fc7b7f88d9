"""The 1-RTT path of a connection, re-implemented for speed by subclassing.

Owns:       reading and building ordinary 1-RTT packets; the account of streams that have something to send.
May import: ``quic.aioquic.connection`` and ``guards``, aioquic.
Never:      handshakes, migration, key updates, connection IDs: whatever is unusual is left to aioquic's own path, before any state
            is touched.
Tested by:  ``tests/unit/quic/aioquic/fastpath``, and the engine suite, which runs on both paths (``tests/simulated``).
"""

from __future__ import annotations

from quicrpc.quic.aioquic.connection import Connection
from quicrpc.quic.aioquic.fastpath.contract import violations
from quicrpc.quic.aioquic.fastpath.send import FastConnection
from quicrpc.quic.aioquic.logs import log

__all__ = ["FastConnection", "choose_connection_class"]


def choose_connection_class() -> type[Connection]:
    """Return the fast class if aioquic is as that one knows it, the plain one otherwise."""
    differences = violations()
    if not differences:
        return FastConnection
    log.warning("1-RTT fast path is off, aioquic differs: %s", ", ".join(differences))
    return Connection
