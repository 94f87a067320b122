"""The certificate authority: what it issues is accepted by TLS, ends in time, and broken input is named."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.certificates import (
    CLOCK_SKEW,
    CertificateAuthority,
    CertificateFacts,
    KeyPair,
    UnusableCertificate,
    Usage,
    certificate_facts,
)

NOW = 1_790_000_000_000
YEAR, HOUR = timedelta(days=365), timedelta(hours=1)
SKEW_MS = int(CLOCK_SKEW.total_seconds()) * 1000


def _authority() -> CertificateAuthority:
    return CertificateAuthority.create("tapio test authority", now=NOW, valid_for=YEAR)


def _server(authority: CertificateAuthority) -> KeyPair:
    return authority.issue(
        "webhook", now=NOW, valid_for=HOUR, usage=Usage.SERVER, dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """Both ends of a TLS handshake in memory; returns the server's end, raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server, server_hostname=host)
    pending = [calling, serving]
    while pending:
        for end in list(pending):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            pending.remove(end)
    return serving


def _context(purpose: ssl.Purpose, trusted: bytes, own: KeyPair, folder: Path) -> ssl.SSLContext:
    certificate, key = folder / f"{purpose.name}.crt", folder / f"{purpose.name}.key"
    certificate.write_bytes(own.certificate_pem)
    key.write_bytes(own.key_pem)
    context = ssl.create_default_context(purpose, cadata=trusted.decode())
    context.load_cert_chain(certificate, key)
    if purpose is ssl.Purpose.CLIENT_AUTH:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_server_and_client_certificates_are_accepted_by_tls(tmp_path: Path, host: str) -> None:
    now = SystemClock().now()  # TLS checks validity against the machine's clock
    authority = CertificateAuthority.create("tapio test authority", now=now, valid_for=YEAR)
    own = authority.issue(
        "webhook", now=now, valid_for=HOUR, usage=Usage.SERVER, dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )
    caller = authority.issue("alice", now=now, valid_for=HOUR, usage=Usage.CLIENT, organizations=["admins"])
    serving = _context(ssl.Purpose.CLIENT_AUTH, authority.certificate_pem, own, tmp_path)
    calling = _context(ssl.Purpose.SERVER_AUTH, authority.certificate_pem, caller, tmp_path)

    end = _handshake(serving, calling, host)

    peer = end.getpeercert()
    assert peer is not None
    assert peer["subject"] == ((("organizationName", "admins"),), (("commonName", "alice"),))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        _handshake(serving, calling, "elsewhere.example")


def test_a_client_certificate_does_not_pass_as_a_server() -> None:
    authority = _authority()
    client = authority.issue("alice", now=NOW, valid_for=HOUR, usage=Usage.CLIENT, dns_names=["localhost"])
    builder = PolicyBuilder().store(Store([x509.load_pem_x509_certificate(authority.certificate_pem)]))
    verifier = builder.time(datetime.fromtimestamp(NOW // 1000, UTC)).build_server_verifier(x509.DNSName("localhost"))

    verifier.verify(x509.load_pem_x509_certificate(_server(authority).certificate_pem), [])
    with pytest.raises(x509.verification.VerificationError, match="EKU"):
        verifier.verify(x509.load_pem_x509_certificate(client.certificate_pem), [])


def test_a_certificate_says_what_it_was_issued_for() -> None:
    issued = _authority().issue(
        "system:serviceaccount:a:b",
        now=NOW,
        valid_for=HOUR,
        usage=Usage.CLIENT,
        organizations=["system:masters", "developers"],
        dns_names=["tapio-webhook.tapio.svc"],
        ip_addresses=["127.0.0.1", "::1"],
    )

    assert certificate_facts(issued.certificate_pem) == CertificateFacts(
        common_name="system:serviceaccount:a:b",
        organizations=("system:masters", "developers"),
        dns_names=("tapio-webhook.tapio.svc",),
        ip_addresses=("127.0.0.1", "::1"),
        begins_at=NOW - SKEW_MS,
        expires_at=NOW + 3_600_000,
    )


def test_nothing_outlives_its_authority() -> None:
    authority = CertificateAuthority.create("short", now=NOW, valid_for=HOUR)
    issued = authority.issue("webhook", now=NOW, valid_for=YEAR, usage=Usage.SERVER)

    assert authority.expires_at == NOW + 3_600_000
    assert certificate_facts(issued.certificate_pem).expires_at == authority.expires_at


def test_an_expired_authority_issues_nothing() -> None:
    authority = CertificateAuthority.create("short", now=NOW, valid_for=HOUR)

    with pytest.raises(UnusableCertificate, match=r"CN=short has expired\. Make a new authority first\."):
        authority.issue("webhook", now=NOW + 2 * 3_600_000, valid_for=HOUR, usage=Usage.SERVER)


def test_a_loaded_authority_issues_what_the_first_one_vouches_for() -> None:
    authority = _authority()
    loaded = CertificateAuthority.load(authority.certificate_pem, authority.key_pem)
    root = x509.load_pem_x509_certificate(authority.certificate_pem)

    issued = x509.load_pem_x509_certificate(_server(loaded).certificate_pem)

    issued.verify_directly_issued_by(root)
    assert loaded.certificate_pem == authority.certificate_pem
    assert loaded.key_pem == authority.key_pem


def test_the_key_of_a_pair_is_not_shown() -> None:
    issued = _server(_authority())

    assert "PRIVATE" not in repr(issued)
    assert b"BEGIN PRIVATE KEY" in issued.key_pem


def _key_on(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        pytest.param(b"no certificate", None, "This is not a PEM certificate", id="certificate is not PEM"),
        pytest.param(None, b"no key", "not an unencrypted private key in PEM", id="key is not PEM"),
        pytest.param(None, _key_on(ec.SECP384R1()), "not an ECDSA key on the curve P-256", id="key on another curve"),
        pytest.param(None, _key_on(ec.SECP256R1()), "does not belong to the certificate", id="somebody else's key"),
        pytest.param(_server(_authority()).certificate_pem, None, "is no authority's", id="end entity as authority"),
    ],
)
def test_what_can_not_be_an_authority_is_refused(certificate: bytes | None, key: bytes | None, message: str) -> None:
    good = _authority()

    with pytest.raises(UnusableCertificate, match=message):
        CertificateAuthority.load(certificate or good.certificate_pem, key or good.key_pem)


@pytest.mark.parametrize("name", [pytest.param("", id="empty"), pytest.param("x" * 65, id="too long")])
def test_a_common_name_outside_x509_limits_is_refused(name: str) -> None:
    with pytest.raises(UnusableCertificate, match=r"X\.509 allows 1 to 64"):
        _authority().issue(name, now=NOW, valid_for=HOUR, usage=Usage.SERVER)


def test_a_pair_is_checked_against_its_authority() -> None:
    authority, other = (CertificateAuthority.create(name, now=NOW, valid_for=YEAR) for name in ("one", "two"))
    own, second, foreign = (
        one.issue("webhook", now=NOW, valid_for=YEAR, usage=Usage.SERVER) for one in (authority, authority, other)
    )
    authority.check(own)
    with pytest.raises(UnusableCertificate, match="was not issued by CN=one"):
        authority.check(foreign)
    with pytest.raises(UnusableCertificate, match="The private key does not belong to the certificate of CN=webhook"):
        authority.check(KeyPair(own.certificate_pem, second.key_pem))
