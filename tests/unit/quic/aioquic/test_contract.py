"""Every private name of aioquic that the engine relies on. A failure here says which one an upgrade has changed."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import aioquic.quic.connection as upstream
import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic import events, recovery, retry
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import Limit, QuicConnection, QuicConnectionId, QuicConnectionState, QuicNetworkPath
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream

from quicrpc.quic.aioquic.connection import Connection
from quicrpc.quic.aioquic.guards import GuardedConnection

ATTRIBUTES = [
    "_ping_pending",
    "_close_at",
    "_close_event",
    "_close_pending",
    "_configuration",
    "_crypto_buffers",
    "_crypto_streams",
    "_cryptos",
    "_events",
    "_handshake_complete",
    "_handshake_confirmed",
    "_host_cid_seq",
    "_host_cids",
    "_is_client",
    "_local_initial_source_connection_id",
    "_local_max_data",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_local_next_stream_id_bidi",
    "_local_next_stream_id_uni",
    "_logger",
    "_loss",
    "_max_datagram_size",
    "_network_paths",
    "_packet_number",
    "_peer_cid",
    "_peer_cid_available",
    "_quic_logger",
    "_remote_ack_delay_exponent",
    "_streams_blocked_bidi",
    "_streams_blocked_uni",
    "_streams_blocked_pending",
    "_remote_active_connection_id_limit",
    "_remote_max_stream_data_bidi_remote",
    "_remote_max_stream_data_uni",
    "_remote_max_streams_bidi",
    "_remote_max_streams_uni",
    "_spaces",
    "_state",
    "_streams",
    "_version",
    "host_cid",
    "tls",
]


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.fixture
def connection() -> QuicConnection:
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
    client.connect(("10.0.0.1", 443), 0.0)
    return client


def test_version() -> None:
    assert version("aioquic").split(".")[:2] == ["1", "7"]


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        (QuicConnection, "_handle_ack_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_handle_crypto_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_handle_stream_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_handle_new_connection_id_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_handle_connection_close_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_consume_peer_cid", ["self"]),
        (QuicConnection, "_payload_received", ["self", "context", "plain", "crypto_frame_required"]),
        (QuicConnection, "_parse_transport_parameters", ["self", "data", "from_session_ticket"]),
        (QuicConnection, "_replenish_connection_ids", ["self"]),
        (QuicConnection, "_serialize_transport_parameters", ["self"]),
        (QuicConnection, "_initialize", ["self", "peer_cid"]),
        (QuicConnection, "_confirm_handshake", ["self"]),
        (QuicConnection, "_push_crypto_data", ["self"]),
        (QuicConnection, "_close_end", ["self"]),
        (QuicConnection, "_write_connection_limits", ["self", "builder", "space"]),
        (QuicConnection, "_write_stream_limits", ["self", "builder", "space", "stream"]),
        (QuicConnection, "_on_connection_limit_delivery", ["self", "delivery", "limit"]),
        (QuicConnection, "_on_max_stream_data_delivery", ["self", "delivery", "stream"]),
        (QuicConnection, "_get_or_create_stream_for_send", ["self", "stream_id"]),
        (QuicConnection, "_stream_can_send", ["self", "stream_id"]),
        (QuicConnection, "_stream_is_discarded", ["self", "stream_id"]),
        (QuicConnection, "_send_probe", ["self"]),
        (QuicConnection, "datagrams_to_send", ["self", "now"]),
        (QuicConnection, "receive_datagram", ["self", "data", "addr", "now"]),
        (QuicConnection, "handle_timer", ["self", "now"]),
        (QuicConnection, "close", ["self", "error_code", "frame_type", "reason_phrase"]),
        (QuicPacketPacer, "next_send_time", ["self", "now"]),
        (QuicPacketPacer, "update_after_send", ["self", "now"]),
        (QuicPacketPacer, "update_rate", ["self", "congestion_window", "smoothed_rtt"]),
        (
            QuicPacketRecovery,
            "_on_packets_lost",
            ["self", "congestion_event", "now", "packets", "persistent_congestion", "space"],
        ),
        (
            QuicPacketRecovery,
            "__init__",
            [
                "self",
                "congestion_control_algorithm",
                "initial_rtt",
                "max_datagram_size",
                "peer_completed_address_validation",
                "send_probe",
                "logger",
                "quic_logger",
            ],
        ),
        (tls.Context, "_server_handle_hello", ["self", "input_buf", "initial_buf", "handshake_buf"]),
        (tls.Context, "_server_handle_certificate", ["self", "input_buf"]),
        (tls.Context, "_server_handle_certificate_verify", ["self", "input_buf"]),
        (tls.Context, "_server_handle_finished", ["self", "input_buf", "output_buf"]),
        (tls.Context, "_client_handle_certificate_verify", ["self", "input_buf"]),
        (tls, "negotiate", ["supported", "offered", "exc"]),
        (tls, "pull_client_hello", ["buf"]),
        (upstream, "EPOCHS", ["shortcut"]),
    ],
)
def test_signature(owner: Any, name: str, expected: list[str]) -> None:
    function = inspect.unwrap(getattr(owner, name))
    assert parameters(function) == expected


@pytest.mark.parametrize(
    "name",
    ATTRIBUTES,
)
def test_attribute(connection: QuicConnection, name: str) -> None:
    assert hasattr(connection, name)


def test_events_are_kept_in_a_deque_of_these_types(connection: QuicConnection) -> None:
    assert connection._events.popleft is not None
    assert parameters(events.StreamDataReceived) == ["data", "end_stream", "stream_id"]
    assert parameters(events.StreamReset) == ["error_code", "stream_id"]
    assert parameters(events.StopSendingReceived) == ["error_code", "stream_id"]
    assert parameters(events.ConnectionIdIssued) == parameters(events.ConnectionIdRetired) == ["connection_id"]
    assert parameters(events.ConnectionTerminated) == ["error_code", "frame_type", "reason_phrase"]


def test_streams() -> None:
    stream = QuicStream(0, 1, 1)
    assert (stream.max_stream_data_local, stream.max_stream_data_local_sent, stream.max_stream_data_remote) == (1, 1, 1)
    assert (stream.receiver._buffer_start, stream.receiver.starting_offset(), len(stream.receiver._ranges)) == (0, 0, 0)
    assert (stream.receiver.highest_offset, stream.receiver.is_finished) == (0, False)
    sender = stream.sender
    sender.write(b"data", True)
    assert (sender._buffer_stop, sender.highest_offset, sender._buffer_fin, sender.buffer_is_empty) == (4, 0, 4, False)
    assert sender._reset_error_code is None
    sender.reset(7)
    assert sender._reset_error_code == 7
    stream.receiver.stop(8)
    assert stream.receiver.stop_pending


def test_small_types(connection: QuicConnection) -> None:
    assert parameters(QuicConnectionId) == ["cid", "sequence_number", "stateless_reset_token", "was_sent"]
    limit = Limit(1, "name", 5)
    assert (limit.frame_type, limit.sent, limit.used, limit.value) == (1, 5, 0, 5)
    path = QuicNetworkPath(("10.0.0.1", 1))
    assert (path.is_validated, path.bytes_sent) == (False, 0)
    assert {"packet_type", "packet_number"} <= set(parameters(QuicSentPacket))
    assert QuicPacketSpace().sent_packets == {}
    assert CryptoPair().send.cipher_suite is None
    assert QuicConnectionState.FIRSTFLIGHT not in upstream.END_STATES
    assert isinstance(retry.QuicRetryTokenHandler()._aead.encrypt(bytes(12), b"", None), bytes)
    pacer = recovery.QuicPacketPacer(max_datagram_size=1200)
    assert (pacer.bucket_max, pacer.bucket_time, pacer.packet_time, pacer._max_datagram_size) == (0.0, 0.0, None, 1200)
    assert isinstance(connection._loss._pacer, QuicPacketPacer)
    assert connection._loss._rtt_smoothed == 0.0
    assert connection._loss._rtt_initialized is False
    assert connection._loss._cc.bytes_in_flight == 0


def test_tls_context(connection: QuicConnection) -> None:
    context = connection.tls
    names = "_peer_certificate _peer_certificate_chain _request_client_certificate _max_early_data _receive_buffer _cipher_suites"
    for name in names.split():
        assert hasattr(context, name)
    assert not hasattr(tls.Context, "__slots__")  # its class is changed
    assert context.get_session_ticket_cb is None
    assert context.new_session_ticket_cb is None


def test_frame_handlers_are_looked_up_on_the_instance() -> None:
    """The dispatch table is made of bound methods, so overriding a handler is enough."""
    connection = GuardedConnection(configuration=QuicConfiguration(is_client=True))
    handlers = connection._QuicConnection__frame_handlers  # type: ignore[attr-defined]
    assert handlers[0x02][0].__func__ is GuardedConnection._handle_ack_frame
    assert handlers[0x08][0].__func__ is GuardedConnection._handle_stream_frame


def test_limits_are_written_through_the_overridden_methods() -> None:
    source = inspect.getsource(QuicConnection._write_application)
    assert "self._write_connection_limits(" in source
    assert "self._write_stream_limits(" in source
    assert "self._loss._pacer.next_send_time(" in source
    assert Connection._write_stream_limits is not QuicConnection._write_stream_limits


def test_the_connection_id_is_announced_while_datagrams_are_built() -> None:
    """Why an endpoint drains events after datagrams_to_send."""
    assert "ConnectionIdIssued" in inspect.getsource(QuicConnection._write_new_connection_id_frame)


def test_a_session_ticket_message_begins_with_type_length_and_lifetime() -> None:
    buffer = Buffer(capacity=512)
    message = tls.NewSessionTicket(ticket_lifetime=86400, ticket_age_add=1, ticket_nonce=b"", ticket=b"t", max_early_data_size=None)
    tls.push_new_session_ticket(buffer, message)
    assert buffer.data[4:8] == (86400).to_bytes(4, "big")


class TestUpstreamFaultsThatAreWorkedAround:
    """Each of these fails when upstream mends it: then a workaround can go."""

    def test_receive_credit_doubles_on_receipt(self) -> None:
        assert "value *= 2" in inspect.getsource(QuicConnection._write_connection_limits)
        assert "max_stream_data_local *= 2" in inspect.getsource(QuicConnection._write_stream_limits)

    def test_client_certificates_are_not_verified(self) -> None:
        assert "verify_certificate(" not in inspect.getsource(tls.Context._server_handle_certificate_verify)

    def test_crypto_gaps_are_not_counted(self) -> None:
        assert upstream.MAX_PENDING_CRYPTO == 524288

    def test_acknowledgements_of_unsent_packets_are_taken(self) -> None:
        assert "_packet_number" not in inspect.getsource(QuicConnection._handle_ack_frame)

    def test_no_stateless_reset_is_recognised(self) -> None:
        assert "stateless_reset_token" not in inspect.getsource(QuicConnection.receive_datagram)

    def test_keys_are_never_updated_unasked(self) -> None:
        assert "request_key_update()" not in inspect.getsource(upstream)

    def test_the_largest_datagram_is_not_advertised(self) -> None:
        assert "max_udp_payload_size" not in inspect.getsource(QuicConnection._serialize_transport_parameters)

    def test_the_retire_prior_to_error_is_the_wrong_one(self) -> None:
        assert "FRAME_ENCODING_ERROR" in inspect.getsource(QuicConnection._handle_new_connection_id_frame).split("sanity check")[0]
        assert "PROTOCOL_VIOLATION" in inspect.getsource(QuicConnection._handle_new_connection_id_frame).split("sanity check")[1]

    def test_tickets_live_a_day(self) -> None:
        assert "ticket_lifetime=86400" in inspect.getsource(tls.Context._server_handle_finished)

    def test_stream_limits_cannot_be_configured(self) -> None:
        assert "max_streams" not in inspect.getsource(QuicConfiguration)
