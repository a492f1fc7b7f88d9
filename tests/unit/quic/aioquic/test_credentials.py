from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from quicrpc.quic.aioquic import AioquicEndpoint
from quicrpc.quic.aioquic.credentials import load_certificates, load_credentials
from quicrpc.quic.engine import CertificateChain, EndpointOptions
from quicrpc.testing.certificates import CertificateAuthority
from quicrpc.testing.network import SimulatedNetwork

AUTHORITY = CertificateAuthority()
GOOD = AUTHORITY.issue()


def pem(key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("chain", "complaint"),
    [
        (CertificateChain(b"", GOOD.private_key), "certificate chain: no readable PEM certificate"),
        (CertificateChain(b"garbage", GOOD.private_key), "certificate chain: no readable PEM certificate"),
        (CertificateChain(GOOD.certificate_chain, b"garbage"), "private key: not a readable"),
        (
            CertificateChain(GOOD.certificate_chain, pem(ec.generate_private_key(ec.SECP256R1()), b"x")),
            "private key: not a readable",
        ),
        (CertificateChain(GOOD.certificate_chain, pem(x25519.X25519PrivateKey.generate())), "TLS cannot sign with X25519"),
        (CertificateChain(GOOD.certificate_chain, pem(ec.generate_private_key(ec.SECP521R1()))), "secp521r1 is not supported"),
        (CertificateChain(GOOD.certificate_chain, AUTHORITY.issue().private_key), "does not belong"),
    ],
)
def test_errors_say_what_is_wrong(chain: CertificateChain, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_credentials([chain])


def test_a_chain_is_loaded_leaf_first() -> None:
    (credential,) = load_credentials([AUTHORITY.intermediate().issue(("a.example",))])
    assert credential.matches("A.example.")
    assert len(credential.chain) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.wild.example", True), ("wild.example", False), ("a.b.wild.example", False), ("x", False), ("", False)],
)
def test_wildcards_stand_for_one_label(name: str, expected: bool) -> None:
    (credential,) = load_credentials([AUTHORITY.issue(("*.wild.example",))])
    assert credential.matches(name) is expected


def test_bundles_may_have_text_around_certificates() -> None:
    bundle = b"# first\r\n" + AUTHORITY.certificate_pem + b"\nsecond\n" + AUTHORITY.certificate_pem.rstrip()
    assert len(load_certificates(bundle, "roots")) == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (EndpointOptions(is_client=False), "a server needs one"),
        (EndpointOptions(is_client=True), "root_certificates: needed"),
        (EndpointOptions(is_client=True, root_certificates=b"none"), "root certificates: no readable"),
        (EndpointOptions(is_client=False, certificates=[GOOD], root_certificates=b"none"), "root certificates: no readable"),
        (EndpointOptions(is_client=False, certificates=[GOOD], qlog_dir="/nonexistent"), "qlog directory"),
    ],
)
def test_an_endpoint_refuses_bad_options(options: EndpointOptions, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AioquicEndpoint(SimulatedNetwork().link(), options)
