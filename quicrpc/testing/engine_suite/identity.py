"""Who the peer is: server certificates, client certificates, and identity across resumption."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from quicrpc.quic.engine import CertificateChain, CertificateRejected, EventKind
from quicrpc.testing.certificates import CertificateAuthority, self_signed
from quicrpc.testing.engine_suite.world import Check, EngineFactory, World, authority

__all__ = ["CHECKS"]

_TLS = 0x100  # CRYPTO_ERROR, RFC 9001, 4.8
_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)
_BAD, _UNSUPPORTED, _EXPIRED, _UNKNOWN_CA, _REQUIRED = 42, 43, 45, 48, 116


def _deep_chain(levels: int) -> CertificateAuthority:
    issuer = authority()
    for level in range(levels):
        issuer = issuer.intermediate(f"level {level}")
    return issuer


def servers_are_verified(engine: EngineFactory, seed: int) -> None:
    """Every kind of bad certificate is refused, each with its alert."""
    other = CertificateAuthority("somebody else")
    bad = {
        "self-signed": (self_signed(), _UNKNOWN_CA),
        "another authority": (other.issue(), _UNKNOWN_CA),
        "expired": (authority().issue(not_before=_NOW - 3 * _DAY, not_after=_NOW - _DAY), _EXPIRED),
        "not yet valid": (authority().issue(not_before=_NOW + _DAY, not_after=_NOW + 3 * _DAY), _EXPIRED),
        "wrong name": (authority().issue(("elsewhere",)), _BAD),
        "no name": (authority().issue((), common_name="localhost"), _BAD),
        "for clients only": (authority().issue(client=True, server=False), _UNSUPPORTED),
    }
    for why, (chain, alert) in bad.items():
        event = World(engine, seed, server={"certificates": [chain]}).refused()
        assert (event[2], event[4], event[5]) == (_TLS + alert, False, False), why


def servers_are_known_by_name_or_address(engine: EngineFactory, seed: int) -> None:
    """A DNS name, an IPv4 or an IPv6 address of the certificate; a wildcard for one label."""
    chain = authority().issue(("service.example", "*.wild.example", "192.0.2.1", "2001:db8::1"))
    world = World(engine, seed, server={"certificates": [chain]})
    for name in ("service.example", "a.wild.example", "192.0.2.1", "2001:db8::1"):
        world.connect(name=name)
    for name in ("192.0.2.2", "2001:db8::2", "a.b.wild.example", "example"):
        assert world.refused(name=name)[2] == _TLS + _BAD


def intermediate_certificates_are_sent(engine: EngineFactory, seed: int) -> None:
    """A chain of three leads to the root."""
    world = World(engine, seed, server={"certificates": [_deep_chain(2).issue()]})
    conn = world.connect()
    assert len(world.client.endpoint.peer_certificates(conn)) == 3


def a_self_signed_root_may_be_the_server(engine: EngineFactory, seed: int) -> None:
    """A certificate that is itself among the roots is trusted, as grpcio and OpenSSL do."""
    chain = self_signed()
    world = World(engine, seed, server={"certificates": [chain]}, client={"root_certificates": chain.certificate_chain})
    world.connect()


def verification_can_be_switched_off(engine: EngineFactory, seed: int) -> None:
    """For tests."""
    World(engine, seed, server={"certificates": [self_signed()]}, client={"verify_server": False}).connect()


def certificates_are_chosen_by_name(engine: EngineFactory, seed: int) -> None:
    """By SNI, wildcards included; the first one without a match."""
    chains = [authority().issue((name,)) for name in ("localhost", "one.example", "*.two.example")]
    world = World(engine, seed, server={"certificates": chains})
    leaves = {name: world.client.endpoint.peer_certificates(world.connect(name=name))[0] for name in ("localhost", "one.example")}
    leaves["two"] = world.client.endpoint.peer_certificates(world.connect(name="x.two.example"))[0]
    assert len(set(leaves.values())) == 3
    assert world.refused(name="three.example")[2] == _TLS + _BAD


def _mutual(engine: EngineFactory, seed: int, chain: CertificateChain | None, **server: object) -> World:
    options = {"root_certificates": authority().certificate_pem, "require_client_certificate": True, **server}
    return World(engine, seed, server=options, client={"certificates": [] if chain is None else [chain]})


def clients_are_verified(engine: EngineFactory, seed: int) -> None:
    """Good ones are known by their chain, every kind of bad one is refused with its alert."""
    name = ("svc-a.internal",)
    world = _mutual(engine, seed, authority().issue(name, client=True, server=False))
    world.connect()
    assert len(world.server.endpoint.peer_certificates(world.server_conn())) == 1
    _mutual(engine, seed, _deep_chain(3).issue(name, client=True)).connect()
    bad = {
        "none": (None, _REQUIRED),
        "self-signed": (self_signed(name, client=True), _UNKNOWN_CA),
        "another authority": (CertificateAuthority("evil").issue(name, client=True), _UNKNOWN_CA),
        "expired": (authority().issue(name, client=True, not_before=_NOW - 3 * _DAY, not_after=_NOW - _DAY), _EXPIRED),
        "not yet valid": (authority().issue(name, client=True, not_before=_NOW + _DAY, not_after=_NOW + 3 * _DAY), _EXPIRED),
        "for servers only": (authority().issue(name), _UNSUPPORTED),
        "no name": (authority().issue((), client=True), _BAD),
        "too deep": (_deep_chain(4).issue(name, client=True), _UNKNOWN_CA),
    }
    for why, (chain, alert) in bad.items():
        world = _mutual(engine, seed, chain)
        event = world.refused()
        assert (event[2], event[4], event[5]) == (_TLS + alert, False, True), why
        assert not world.server.of(EventKind.HANDSHAKE_DONE), why


def client_certificates_can_be_optional(engine: EngineFactory, seed: int) -> None:
    """Asked for, verified when given, not needed."""
    for chain, count in ((None, 0), (authority().issue(client=True), 1)):
        world = _mutual(engine, seed, chain, require_client_certificate=False)
        world.connect()
        assert len(world.server.endpoint.peer_certificates(world.server_conn())) == count
    world = _mutual(engine, seed, self_signed(client=True), require_client_certificate=False)
    assert world.refused()[2] == _TLS + _UNKNOWN_CA


def the_hook_has_the_last_word(engine: EngineFactory, seed: int) -> None:
    """It sees the verified chain and chooses the alert, in both roles."""
    seen: list[Sequence[bytes]] = []

    def refuse(chain: Sequence[bytes]) -> None:
        seen.append(chain)
        raise CertificateRejected("revoked", alert=44)

    world = _mutual(engine, seed, authority().issue(client=True), peer_verifier=refuse)
    assert world.refused()[2] == _TLS + 44
    assert len(seen) == len(seen[0]) == 1
    world = World(engine, seed, client={"peer_verifier": refuse})
    assert world.refused()[2] == _TLS + 44


def identity_follows_the_ticket(engine: EngineFactory, seed: int) -> None:
    """A resumed connection, early data included, is the same client as before."""
    world = _mutual(engine, seed, authority().issue(client=True))
    ticket = world.ticket()
    chain = next(iter(world.store.records.values())).peer_certificates
    conn = world.client.endpoint.connect(("10.0.0.2", 443), "localhost", ticket)
    stream = world.open(conn)
    world.client.endpoint.send(conn, stream, b"me again", True)
    world.network.run_until(lambda: world.server.of(EventKind.DATA))
    assert world.server.of(EventKind.DATA)[0][5]
    assert world.server.endpoint.peer_certificates(world.server_conn()) == list(chain)
    world.network.run_until(lambda: (EventKind.HANDSHAKE_DONE, conn) in world.client.events)
    assert world.client.endpoint.info(conn).resumed
    world.network.run_for(1)
    conn = world.connect(ticket=ticket)  # used up: a full handshake, with the certificate
    assert not world.client.endpoint.info(conn).resumed
    assert world.server.endpoint.peer_certificates(world.server_conn()) == list(chain)


def identity_is_judged_again_at_resumption(engine: EngineFactory, seed: int) -> None:
    """A client refused since, by the hook or by time, does not come back on a ticket."""
    refused: set[bytes] = set()

    def verifier(chain: Sequence[bytes]) -> None:
        if chain[0] in refused:
            raise CertificateRejected("revoked", alert=44)

    world = _mutual(engine, seed, authority().issue(client=True), peer_verifier=verifier)
    ticket = world.ticket()
    refused.update(certificate for record in world.store.records.values() for certificate in record.peer_certificates)
    assert world.refused(ticket=ticket)[2] == _TLS + 44
    now = [_NOW.timestamp()]
    chain = authority().issue(client=True, not_after=_NOW + 2 * _DAY)
    world = _mutual(engine, seed, chain, wall_clock=lambda: now[0], ticket_lifetime_s=10 * 86_400.0)
    ticket = world.ticket()
    now[0] += 3 * 86_400
    assert world.refused(ticket=ticket)[2] == _TLS + _EXPIRED


def a_ticket_without_identity_gives_none(engine: EngineFactory, seed: int) -> None:
    """Issued when no certificate was needed, worth nothing once one is."""
    world = _mutual(engine, seed, None, require_client_certificate=False)
    ticket = world.ticket()
    world.network.forget(world.server)
    world.server = world.start_server(require_client_certificate=True)
    assert world.refused(ticket=ticket)[2] == _TLS + _REQUIRED


CHECKS: tuple[Check, ...] = (
    servers_are_verified,
    servers_are_known_by_name_or_address,
    intermediate_certificates_are_sent,
    a_self_signed_root_may_be_the_server,
    verification_can_be_switched_off,
    certificates_are_chosen_by_name,
    clients_are_verified,
    client_certificates_can_be_optional,
    the_hook_has_the_last_word,
    identity_follows_the_ticket,
    identity_is_judged_again_at_resumption,
    a_ticket_without_identity_gives_none,
)
