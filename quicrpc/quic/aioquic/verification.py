"""Who the peer is: certificate chains checked against the roots, in both roles.

aioquic checks a server's chain but not what the certificate may be used for, and no client's chain at all.
"""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections.abc import Callable, Sequence

import service_identity
from aioquic import tls
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from OpenSSL import crypto

from quicrpc.quic.aioquic.credentials import load_certificates
from quicrpc.quic.engine import CertificateRejected, EndpointOptions, PeerVerifier

__all__ = ["CertificateAlert", "ClientVerification", "ServerVerification"]

#: Intermediate certificates between a client's leaf and a root.
MAX_CHAIN_DEPTH = 3


class CertificateAlert(tls.Alert):
    """A TLS alert with a number of its own (RFC 8446, 6.2); the text is sent to the peer."""

    def __init__(self, alert: int, message: str) -> None:
        super().__init__(message)
        self.description = alert  # type: ignore[assignment]  # upstream only takes int() of it


class ClientVerification:
    """A server's check of its clients: chain, dates, extended key usage, subjectAltName, depth, then the hook."""

    def __init__(self, options: EndpointOptions) -> None:
        """Raises ValueError when ``root_certificates`` cannot be read."""
        assert options.root_certificates is not None
        self.required = options.require_client_certificate
        self._store = Store(load_certificates(options.root_certificates, "root certificates"))
        self._clock = options.wall_clock or time.time
        self._hook = options.peer_verifier

    def verify(self, chain: Sequence[bytes]) -> None:
        """Accept ``chain`` (DER, leaf first) or raise the alert its owner gets."""
        now = _utc(self._clock)
        leaf, *others = _parse(chain)
        _check_leaf(leaf, now, ExtendedKeyUsageOID.CLIENT_AUTH)
        try:
            leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            raise CertificateAlert(tls.AlertDescription.bad_certificate, "certificate has no subjectAltName") from None
        verifier = PolicyBuilder().store(self._store).time(now).max_chain_depth(MAX_CHAIN_DEPTH).build_client_verifier()
        try:
            verifier.verify(leaf, others)
        except VerificationError as error:
            raise CertificateAlert(tls.AlertDescription.unknown_ca, "certificate does not lead to a trusted root") from error
        _call_hook(self._hook, chain)


class ServerVerification:
    """A client's check of its server: chain, dates, extended key usage, name, then the hook.

    The chain is checked as OpenSSL does, which takes a self-signed certificate that is itself among the roots.
    """

    def __init__(self, options: EndpointOptions) -> None:
        """Raises ValueError when ``root_certificates`` is missing or cannot be read."""
        if options.root_certificates is None:
            raise ValueError("root_certificates: needed to verify a server")
        self._store = crypto.X509Store()
        for root in load_certificates(options.root_certificates, "root certificates"):
            self._store.add_cert(crypto.X509.from_cryptography(root))
        self._clock = options.wall_clock or time.time
        self._hook = options.peer_verifier

    def verify(self, chain: Sequence[bytes], server_name: str) -> None:
        """Accept ``chain`` (DER, leaf first) for ``server_name``, a DNS name or an IP address, or raise an alert."""
        now = _utc(self._clock)
        leaf, *others = _parse(chain)
        _check_leaf(leaf, now, ExtendedKeyUsageOID.SERVER_AUTH)
        _check_name(leaf, server_name)
        self._store.set_time(now)
        untrusted = [crypto.X509.from_cryptography(certificate) for certificate in others]
        try:
            crypto.X509StoreContext(self._store, crypto.X509.from_cryptography(leaf), untrusted).verify_certificate()
        except crypto.X509StoreContextError as error:
            raise CertificateAlert(tls.AlertDescription.unknown_ca, f"certificate chain: {error}") from error
        _call_hook(self._hook, chain)


def _utc(clock: Callable[[], float]) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(clock(), datetime.UTC)


def _parse(chain: Sequence[bytes]) -> list[x509.Certificate]:
    if not chain:
        raise CertificateAlert(tls.AlertDescription.bad_certificate, "no certificate")
    try:
        return [x509.load_der_x509_certificate(certificate) for certificate in chain]
    except ValueError as error:
        raise CertificateAlert(tls.AlertDescription.bad_certificate, "certificate could not be parsed") from error


def _check_leaf(leaf: x509.Certificate, now: datetime.datetime, purpose: ObjectIdentifier) -> None:
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise CertificateAlert(tls.AlertDescription.certificate_expired, "certificate is expired or not yet valid")
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return  # good for any purpose (RFC 5280, 4.2.1.12)
    except ValueError as error:
        raise CertificateAlert(tls.AlertDescription.bad_certificate, "certificate extensions could not be parsed") from error
    if purpose not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise CertificateAlert(tls.AlertDescription.unsupported_certificate, "certificate is not meant for this use")


def _check_name(leaf: x509.Certificate, server_name: str) -> None:
    try:
        if _is_ip_address(server_name):
            service_identity.cryptography.verify_certificate_ip_address(leaf, server_name)
        else:
            service_identity.cryptography.verify_certificate_hostname(leaf, server_name)
    except (ValueError, service_identity.CertificateError, service_identity.VerificationError) as error:
        raise CertificateAlert(tls.AlertDescription.bad_certificate, f"certificate is not for {server_name!r}") from error


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _call_hook(hook: PeerVerifier | None, chain: Sequence[bytes]) -> None:
    if hook is not None:
        try:
            hook(chain)
        except CertificateRejected as error:
            raise CertificateAlert(error.alert, str(error)) from error
