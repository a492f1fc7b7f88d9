"""A verified peer certificate as grpcio's ``auth_context`` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["ANONYMOUS", "PeerIdentity", "identify"]

_COMMON_NAME = "x509_common_name"
_SUBJECT_ALTERNATIVE_NAME = "x509_subject_alternative_name"


class PeerIdentity:
    """Who the peer proved to be.

    Attributes:
        auth_context: Property name -> values, with grpcio's names.
        identity_key: The property that identifies the peer; None for an anonymous one.
    """

    __slots__ = ("auth_context", "identity_key")

    def __init__(self, auth_context: Mapping[str, Sequence[bytes]], identity_key: str | None) -> None:
        self.auth_context = auth_context
        self.identity_key = identity_key

    def identities(self) -> Sequence[bytes] | None:
        """Return the identifying values, or None."""
        return None if self.identity_key is None else self.auth_context[self.identity_key]


_TRANSPORT: dict[str, Sequence[bytes]] = {"transport_security_type": [b"ssl"], "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"]}
#: A TLS peer that presented no certificate.
ANONYMOUS = PeerIdentity(_TRANSPORT, None)


@lru_cache(maxsize=1024)
def identify(certificate_der: bytes) -> PeerIdentity:
    """Describe a verified leaf certificate (DER). grpcio prefers subject alternative names and falls back to the common name."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    names: list[bytes] = []
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        for name in extension:
            if isinstance(name, x509.DNSName | x509.UniformResourceIdentifier | x509.RFC822Name):
                names.append(name.value.encode())
            elif isinstance(name, x509.IPAddress):
                names.append(str(name.value).encode())
    common_names = [
        attribute.value if isinstance(attribute.value, bytes) else attribute.value.encode()
        for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    ]
    context = dict(_TRANSPORT)
    if common_names:
        context[_COMMON_NAME] = common_names
    if names:
        context[_SUBJECT_ALTERNATIVE_NAME] = names
    context["x509_pem_cert"] = [certificate.public_bytes(Encoding.PEM)]
    key = _SUBJECT_ALTERNATIVE_NAME if names else _COMMON_NAME if common_names else None
    return PeerIdentity(context, key)
