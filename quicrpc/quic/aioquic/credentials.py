"""PEM to certificates and keys, with errors that say what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from quicrpc.quic.engine import CertificateChain

__all__ = ["Credential", "load_certificates", "load_credentials"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A parsed :class:`~quicrpc.quic.engine.CertificateChain`, leaf first."""

    certificate: x509.Certificate
    chain: list[x509.Certificate]
    private_key: Any

    def matches(self, server_name: str) -> bool:
        """Tell whether a DNS name of the leaf covers ``server_name`` (RFC 6125: a wildcard stands for one whole label)."""
        name = server_name.lower().rstrip(".")
        parent = name.partition(".")[2]
        return any(pattern in (name, f"*.{parent}") for pattern in _dns_names(self.certificate))


def load_credentials(chains: Sequence[CertificateChain]) -> list[Credential]:
    """Parse chains.

    Raises:
        ValueError: A chain or key cannot be read, is of a kind TLS 1.3 here cannot sign with, or they do not belong together.
    """
    return [_load_credential(chain) for chain in chains]


def load_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Parse a PEM bundle with at least one certificate.

    Raises:
        ValueError: There is none, or one cannot be read; the message names ``what``.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError(f"{what}: no readable PEM certificate: {error}") from error


def _load_credential(chain: CertificateChain) -> Credential:
    certificates = load_certificates(chain.certificate_chain, "certificate chain")
    try:
        key = serialization.load_pem_private_key(chain.private_key, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"private key: not a readable, unencrypted PEM key: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        raise ValueError(f"private key: TLS cannot sign with {type(key).__name__}")
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        raise ValueError(f"private key: curve {key.curve.name} is not supported, use P-256 or P-384")
    if _spki(key.public_key()) != _spki(certificates[0].public_key()):
        raise ValueError("private key does not belong to the first certificate of the chain")
    return Credential(certificates[0], certificates[1:], key)


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
