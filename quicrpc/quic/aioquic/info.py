"""A connection's state as the seam describes it."""

from __future__ import annotations

from typing import cast

from aioquic.tls import Epoch

from quicrpc.quic.aioquic.connection import Connection
from quicrpc.quic.aioquic.handshake import TlsContext
from quicrpc.quic.engine import Address, ConnectionInfo

__all__ = ["connection_info"]


def connection_info(connection: Connection, local_address: Address) -> ConnectionInfo:
    """Take a snapshot. ``packets_received`` counts datagrams: one packet each once the handshake is done."""
    context, recovery = cast(TlsContext, connection.tls), connection._loss
    cipher = connection._cryptos[Epoch.ONE_RTT].send.cipher_suite
    return ConnectionInfo(
        peer_address=cast(Address, connection.get_peer_address()),
        local_address=local_address,
        alpn=context.alpn_negotiated or "",
        quic_version=int(connection._version or 0),
        cipher="" if cipher is None else f"TLS_{cipher.name}",
        resumed=context.session_resumed,
        early_data_accepted=context.early_data_accepted,
        server_name=context.offered_name,
        rtt_s=recovery._rtt_smoothed,
        congestion_window_bytes=recovery.congestion_window,
        bytes_in_flight=recovery.bytes_in_flight,
        packets_sent=connection._packet_number - connection.packets_skipped,
        packets_received=connection.datagrams_received,
        packets_lost=recovery.packets_lost,
        bytes_sent=sum(path.bytes_sent for path in connection._network_paths),
        bytes_received=connection.bytes_received,
        original_connection_id=connection.original_destination_connection_id.hex(),
    )
