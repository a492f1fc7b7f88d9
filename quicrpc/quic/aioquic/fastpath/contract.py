"""What of aioquic the fast path re-implements or reaches into. Checked on import: a difference switches the fast path off."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

from aioquic import _crypto
from aioquic.quic import crypto, packet
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream

__all__ = ["ATTRIBUTES", "SIGNATURES", "violations"]

#: The releases whose 1-RTT path was read line by line for this room.
RELEASES = "1.7."

SIGNATURES: tuple[tuple[Any, str, str], ...] = (
    (QuicConnection, "receive_datagram", "self data addr now"),
    (QuicConnection, "datagrams_to_send", "self now"),
    (QuicConnection, "get_timer", "self"),
    (QuicConnection, "_idle_timeout", "self"),
    (QuicConnection, "_payload_received", "self context plain crypto_frame_required"),
    (QuicConnection, "_get_or_create_stream", "self frame_type stream_id"),
    (QuicConnection, "_stream_limit", "self stream_id"),
    (QuicConnection, "_unblock_streams", "self is_unidirectional"),
    (QuicConnection, "_replenish_connection_ids", "self"),
    (QuicConnection, "_handle_stream_frame", "self context frame_type buf"),
    (QuicConnection, "_handle_reset_stream_frame", "self context frame_type buf"),
    (QuicConnection, "_handle_stop_sending_frame", "self context frame_type buf"),
    (QuicConnection, "_handle_max_stream_data_frame", "self context frame_type buf"),
    (QuicConnection, "_handle_max_data_frame", "self context frame_type buf"),
    (QuicConnection, "_write_stream_frame", "self builder space stream max_offset"),
    (QuicConnection, "_write_reset_stream_frame", "self builder stream"),
    (QuicConnection, "_write_stop_sending_frame", "self builder stream"),
    (QuicConnection, "_on_connection_limit_delivery", "self delivery limit"),
    (QuicConnection, "_on_max_stream_data_delivery", "self delivery stream"),
    (QuicConnection, "_on_new_connection_id_delivery", "self delivery connection_id"),
    (QuicConnection, "_on_ping_delivery", "self delivery uids"),
    (QuicPacketBuilder, "start_frame", "self frame_type capacity handler handler_args"),
    (QuicPacketRecovery, "on_ack_received", "self ack_rangeset ack_delay now space"),
    (QuicPacketRecovery, "on_packet_sent", "self packet space"),
    (QuicPacketRecovery, "get_probe_timeout", "self include_max_ack_delay"),
    (_crypto.HeaderProtection, "_mask", "self sample"),
    (packet, "decode_packet_number", "truncated num_bits expected"),
    (RangeSet, "add", "self start stop"),
    (RangeSet, "subtract", "self start stop"),
    (StreamDataReceived, "__init__", "self data end_stream stream_id"),
    (
        QuicSentPacket,
        "__init__",
        "self epoch in_flight is_ack_eliciting is_crypto_packet packet_number packet_type sent_time sent_bytes delivery_handlers"
        " quic_logger_frames",
    ),
)

ATTRIBUTES: tuple[tuple[str, str], ...] = (
    (
        "connection",
        "_ack_delay _ack_eliciting_sent_since_receipt _close_at _close_pending _crypto_streams _cryptos _datagrams_pending _events"
        " _handshake_confirmed _handshake_done_pending _host_cids _is_client _local_max_data _logger _loss _loss_at"
        " _max_datagram_size _network_paths _pacing_at _packet_number _peer_cid _ping_pending _probe_pending _quic_logger"
        " _remote_ack_delay_exponent _remote_max_data _remote_max_data_used _remote_preferred_address _retire_connection_ids"
        " _spaces _spin_bit _spin_highest_pn _state _streams _streams_blocked_bidi _streams_blocked_pending _streams_blocked_uni"
        " _streams_queue host_cid",
    ),
    ("path", "addr bytes_sent is_validated local_challenge_sent remote_challenges"),
    (
        "space",
        "ack_at ack_eliciting_in_flight ack_queue expected_packet_number largest_received_packet largest_received_time loss_time"
        " received_packets",
    ),
    ("recovery", "_cc _pto_count _time_of_last_sent_ack_eliciting_packet"),
    ("congestion control", "bytes_in_flight congestion_window"),
    ("stream", "is_blocked is_finished max_stream_data_local max_stream_data_local_sent max_stream_data_remote receiver sender"),
    ("receiver", "_buffer_start _final_size highest_offset is_finished stop_pending get_stop_frame on_stop_sending_delivery"),
    (
        "sender",
        "_acked _acked_fin _buffer _buffer_fin _buffer_start _buffer_stop _pending _pending_eof _reset_error_code _stream_id"
        " buffer_is_empty get_reset_frame highest_offset is_finished on_data_delivery on_reset_delivery reset_pending",
    ),
    ("keys", "recv send _update_key_requested"),
    ("key", "aead hp key_phase"),
    ("aead", "_aead _iv"),
    ("range set", "_RangeSet__ranges"),
    ("builder", "_packet"),
)


def violations() -> list[str]:
    """Return what of aioquic is not as the fast path needs it; [] when all is well."""
    if not version("aioquic").startswith(RELEASES):
        return [f"aioquic {version('aioquic')}"]
    found = []
    for owner, name, expected in SIGNATURES:
        function = getattr(owner, name, None)
        if function is None or " ".join(inspect.signature(inspect.unwrap(function)).parameters) != expected:
            found.append(f"{owner.__name__}.{name}")
    subjects = _subjects()
    for subject, names in ATTRIBUTES:
        found += [f"{subject}: {name}" for name in names.split() if not hasattr(subjects[subject], name)]
    if MAX_ACK_RANGES != 64:
        found.append("MAX_ACK_RANGES")
    return found


def _subjects() -> dict[str, Any]:
    connection: Any = QuicConnection(configuration=QuicConfiguration(is_client=True))
    stream = QuicStream(0, 1, 1)
    pair = crypto.CryptoPair()
    pair.setup_initial(cid=bytes(8), is_client=True, version=packet.QuicProtocolVersion.VERSION_1)
    return {
        "connection": connection,
        "path": QuicNetworkPath(("", 0)),
        "space": QuicPacketSpace(),
        "recovery": connection._loss,
        "congestion control": connection._loss._cc,
        "stream": stream,
        "receiver": stream.receiver,
        "sender": stream.sender,
        "keys": pair,
        "key": pair.send,
        "aead": pair.send.aead,
        "range set": RangeSet(),
        "builder": QuicPacketBuilder(host_cid=b"", peer_cid=b"", version=1, is_client=True, max_datagram_size=1200),
    }
