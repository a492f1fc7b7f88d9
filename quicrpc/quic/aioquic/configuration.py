"""Options of the seam as aioquic's configuration."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Sequence

from aioquic.quic.configuration import QuicConfiguration

from quicrpc.quic.aioquic.admission import SUPPORTED_VERSIONS
from quicrpc.quic.aioquic.connection import CONNECTION_ID_BYTES
from quicrpc.quic.aioquic.credentials import Credential
from quicrpc.quic.aioquic.logs import QlogDirectory
from quicrpc.quic.engine import EndpointOptions

__all__ = ["build_configuration", "with_credentials"]


def build_configuration(options: EndpointOptions, credentials: Sequence[Credential]) -> QuicConfiguration:
    """Translate what upstream has an option for; a connection sees to the rest.

    Raises:
        ValueError: The qlog directory does not exist.
    """
    configuration = QuicConfiguration(
        alpn_protocols=list(options.alpn),
        congestion_control_algorithm=options.congestion_control,
        connection_id_length=CONNECTION_ID_BYTES,
        idle_timeout=options.idle_timeout_s,
        is_client=options.is_client,
        max_data=options.connection_window_bytes,
        max_datagram_size=options.max_datagram_bytes,
        max_stream_data=options.stream_window_bytes,
        quic_logger=None if options.qlog_dir is None else QlogDirectory(options.qlog_dir),
        supported_versions=SUPPORTED_VERSIONS,
        verify_mode=ssl.CERT_NONE,  # verification is ours, in both roles
    )
    return with_credentials(configuration, credentials)


def with_credentials(configuration: QuicConfiguration, credentials: Sequence[Credential]) -> QuicConfiguration:
    """Return a copy with the first credential: a client's only one, a server's until it has seen the client's server name."""
    if not credentials:
        return dataclasses.replace(configuration, certificate=None, certificate_chain=[], private_key=None)
    first = credentials[0]
    return dataclasses.replace(
        configuration, certificate=first.certificate, certificate_chain=first.chain, private_key=first.private_key
    )
