from __future__ import annotations

from pathlib import Path

import grpc
import pytest

import quicrpc
from quicrpc.quic.engine import CertificateChain
from quicrpc.security.credentials import channel_security, default_root_certificates
from quicrpc.security.identity import identify
from quicrpc.testing.certificates import CertificateAuthority


def test_server_credentials_are_grpcios_too() -> None:
    leaf = CertificateAuthority().issue()
    credentials = quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])
    assert isinstance(credentials, grpc.ServerCredentials)
    assert credentials.certificates == (leaf,)


def test_what_server_credentials_need() -> None:
    with pytest.raises(ValueError, match="At least one"):
        quicrpc.ssl_server_credentials([])
    with pytest.raises(ValueError, match="root certificates"):
        quicrpc.ssl_server_credentials([(b"k", b"c")], require_client_auth=True)


def test_channel_credentials_are_looked_into() -> None:
    token = grpc.access_token_call_credentials("token")
    plain = grpc.ssl_channel_credentials(b"roots", b"key", b"chain")
    security = channel_security(grpc.composite_channel_credentials(plain, token))
    assert security.root_certificates == b"roots"
    assert security.certificate == CertificateChain(b"chain", b"key")
    assert len(security.call_credentials) == 1
    with pytest.raises(ValueError, match="go together"):
        quicrpc.ssl_channel_credentials(b"roots", private_key=b"key")
    with pytest.raises(ValueError, match="cannot be used over HTTP/3"):
        channel_security(grpc.local_channel_credentials())


def test_default_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    assert b"BEGIN CERTIFICATE" in default_root_certificates()
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: type("Paths", (), {"cafile": None})())
    assert b"BEGIN CERTIFICATE" in default_root_certificates()


def der(chain: CertificateChain) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(chain.certificate_chain).public_bytes(Encoding.DER)


def test_identity_has_grpcios_names() -> None:
    authority = CertificateAuthority()
    chain = authority.issue(("svc.internal", "10.0.0.1"), client=True, uris=("spiffe://example.org/svc",), common_name="svc")
    identity = identify(der(chain))
    assert identity.identity_key == "x509_subject_alternative_name"
    assert set(identity.identities() or ()) == {b"svc.internal", b"10.0.0.1", b"spiffe://example.org/svc"}
    assert identity.auth_context["x509_common_name"] == [b"svc"]
    assert identity.auth_context["transport_security_type"] == [b"ssl"]
    nameless = identify(der(authority.issue((), client=True, common_name="only-a-name")))
    assert nameless.identity_key == "x509_common_name"
    assert nameless.identities() == [b"only-a-name"]
