"""X.509 certificates for tests: an authority and the leaves it signs, made in memory, nothing on disk."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from quicrpc.quic.engine import CertificateChain

__all__ = ["CertificateAuthority", "self_signed"]

_DAY = datetime.timedelta(days=1)


class CertificateAuthority:
    """A certificate authority with an ECDSA P-256 key, valid from a year ago for ten years.

    Attributes:
        certificate_pem: The root certificate of this authority's chains: what a peer puts into ``root_certificates``.
    """

    def __init__(self, name: str = "quicrpc test CA", *, issuer: CertificateAuthority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        parent = issuer or self
        builder = (
            _builder(self._subject, parent._subject, self._key, parent._key, now - 365 * _DAY, now + 3650 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(certificate_signing=True), critical=True)
        )
        self._certificate = builder.sign(parent._key, hashes.SHA256())
        self._chain: bytes = b"" if issuer is None else _pem(self._certificate) + issuer._chain
        self.certificate_pem: bytes = _pem(self._certificate) if issuer is None else issuer.certificate_pem

    def intermediate(self, name: str = "quicrpc test intermediate CA") -> CertificateAuthority:
        """Return an authority below this one; its chains carry its certificate after the leaf."""
        return CertificateAuthority(name, issuer=self)

    def issue(
        self,
        names: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
        *,
        client: bool = False,
        server: bool = True,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        uris: Iterable[str] = (),
        common_name: str | None = None,
    ) -> CertificateChain:
        """Sign a leaf.

        Args:
            names: DNS names or textual IP addresses for subjectAltName; with no ``uris`` either, the extension is left out.
            client: Give the extended key usage clientAuth.
            server: Give the extended key usage serverAuth.
            not_before: Aware; default yesterday.
            not_after: Aware; default in thirty days.
            uris: URI names for subjectAltName, such as SPIFFE IDs.
            common_name: Subject; default the first name.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names, uris = tuple(names), tuple(uris)
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or (*names, *uris, "unnamed")[0])])
        builder = _builder(subject, self._subject, key, self._key, not_before or now - _DAY, not_after or now + 30 * _DAY)
        builder = _leaf_extensions(builder, names, uris, client=client, server=server)
        return CertificateChain(_pem(builder.sign(self._key, hashes.SHA256())) + self._chain, _key_pem(key))


def self_signed(names: Iterable[str] = ("localhost",), *, client: bool = False, server: bool = True) -> CertificateChain:
    """Return a leaf that no authority signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = tuple(names)
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = _leaf_extensions(
        _builder(subject, subject, key, key, now - _DAY, now + 30 * _DAY), names, (), client=client, server=server
    )
    return CertificateChain(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _leaf_extensions(
    builder: x509.CertificateBuilder, names: tuple[str, ...], uris: tuple[str, ...], *, client: bool, server: bool
) -> x509.CertificateBuilder:
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(certificate_signing=False), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    alternative = [*map(_general_name, names), *map(x509.UniformResourceIdentifier, uris)]
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, certificate_signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate_signing,
        crl_sign=certificate_signing,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
