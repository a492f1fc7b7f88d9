"""Credentials with grpcio's argument names that work on both transports.

grpcio's own credential objects are opaque handles of its C core. A channel's can be looked into, a server's cannot, so servers need
the ones made here; both kinds made here *are* grpcio credentials and can be given to grpcio as they are.
"""

from __future__ import annotations

import os
import pkgutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from quicrpc.quic.engine import CertificateChain

__all__ = [
    "ChannelSecurity",
    "ServerCredentials",
    "channel_security",
    "default_root_certificates",
    "ssl_channel_credentials",
    "ssl_server_credentials",
]

_ROOTS_VARIABLE = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


class ServerCredentials(grpc.ServerCredentials):
    """TLS credentials of a server, for the HTTP/3 and the HTTP/2 listener.

    Attributes:
        certificates: Chains and keys; the first is the default one.
        root_certificates: PEM bundle that client certificates must lead to; None: clients are not asked for one.
        require_client_auth: Refuse clients without a certificate.
    """

    def __init__(
        self,
        certificates: Sequence[CertificateChain],
        root_certificates: bytes | None,
        require_client_auth: bool,
    ) -> None:
        pairs = [(chain.private_key, chain.certificate_chain) for chain in certificates]
        if root_certificates is None:
            grpcio = grpc.ssl_server_credentials(pairs)
        else:
            grpcio = grpc.ssl_server_credentials(pairs, root_certificates, require_client_auth)
        super().__init__(grpcio._credentials)  # type: ignore[attr-defined]  # the stubs hide grpcio's own attribute
        self.certificates = tuple(certificates)
        self.root_certificates = root_certificates
        self.require_client_auth = require_client_auth


def ssl_server_credentials(
    private_key_certificate_chain_pairs: Sequence[tuple[bytes, bytes]],
    root_certificates: bytes | None = None,
    require_client_auth: bool = False,
) -> ServerCredentials:
    """Create TLS credentials for ``Server.add_secure_port``; as ``grpc.ssl_server_credentials``.

    Args:
        private_key_certificate_chain_pairs: ``(PEM key, PEM chain)`` pairs, at least one.
        root_certificates: PEM bundle for verifying client certificates.
        require_client_auth: Refuse clients without a certificate that leads to ``root_certificates``.
    Raises:
        ValueError: no pair, or ``require_client_auth`` without roots.
    """
    if not private_key_certificate_chain_pairs:
        raise ValueError("At least one private key-certificate chain pair is required!")
    if require_client_auth and root_certificates is None:
        raise ValueError("Illegal to require client auth without providing root certificates!")
    certificates = [CertificateChain(chain, key) for key, chain in private_key_certificate_chain_pairs]
    return ServerCredentials(certificates, root_certificates, require_client_auth)


def ssl_channel_credentials(
    root_certificates: bytes | None = None,
    private_key: bytes | None = None,
    certificate_chain: bytes | None = None,
) -> grpc.ChannelCredentials:
    """Create TLS credentials for a channel; as ``grpc.ssl_channel_credentials``, whose result may be used just as well.

    Args:
        root_certificates: PEM bundle the server's certificate must lead to; None: the default roots.
        private_key: PEM key of the client certificate, if the server asks for one.
        certificate_chain: PEM chain of the client certificate.
    Raises:
        ValueError: only one of key and chain is given.
    """
    if (private_key is None) != (certificate_chain is None):
        raise ValueError("private_key and certificate_chain go together: give both or neither")
    return grpc.ssl_channel_credentials(root_certificates, private_key, certificate_chain)


@dataclass(frozen=True, slots=True)
class ChannelSecurity:
    """What an HTTP/3 connection needs to know of channel credentials.

    Attributes:
        root_certificates: PEM bundle; never None, the defaults are filled in.
        certificate: The client's own chain, if any.
        call_credentials: grpcio's call-credential handles that apply to each call, outermost last.
    """

    root_certificates: bytes
    certificate: CertificateChain | None
    call_credentials: tuple[Any, ...] = field(default=())


def channel_security(credentials: grpc.ChannelCredentials) -> ChannelSecurity:
    """Look into channel credentials, ours or grpcio's, composite or plain.

    Raises:
        ValueError: credentials of a kind that has no TLS keys to read (ALTS, local, xDS): use ``transport="h2"`` for those.
    """
    handle: Any = credentials._credentials  # type: ignore[attr-defined]
    call_credentials: tuple[Any, ...] = ()
    while hasattr(handle, "_channel_credentials"):
        call_credentials += tuple(handle._call_credentialses)
        handle = handle._channel_credentials
    if not hasattr(handle, "_pem_root_certificates"):
        raise ValueError(
            f"{type(handle).__name__} cannot be used over HTTP/3: make the credentials with quicrpc.ssl_channel_credentials(), "
            'or choose transport="h2"'
        )
    roots = handle._pem_root_certificates
    key, chain = handle._private_key, handle._certificate_chain
    return ChannelSecurity(
        root_certificates=default_root_certificates() if roots is None else roots,
        certificate=CertificateChain(chain, key) if key and chain else None,
        call_credentials=call_credentials,
    )


def default_root_certificates() -> bytes:
    """Return the PEM trust roots used when none are given.

    ``GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`` if set, else the system's, else the bundle inside grpcio: the order of gRPC core.
    """
    path = os.environ.get(_ROOTS_VARIABLE)
    if path:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{_ROOTS_VARIABLE} names {path!r}, which cannot be read: {error.strerror}") from error
    system = ssl.get_default_verify_paths().cafile
    if system and Path(system).is_file():
        return Path(system).read_bytes()
    bundled = pkgutil.get_data("grpc._cython", "_credentials/roots.pem")
    if not bundled:
        raise ValueError(f"no trust roots found: give root_certificates or set {_ROOTS_VARIABLE}")
    return bundled
