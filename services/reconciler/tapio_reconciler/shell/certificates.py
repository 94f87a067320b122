"""Certificates of servers among peers, by an authority of their cluster's own: made, and renewed before they end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tapio_reconciler.core.model import CertificateSecret
from tapio_shared.api.labels import RENEW_AT
from tapio_shared.certificates import CertificateAuthority, UnusableCertificate, Usage, certificate_facts

_AUTHORITY_VALID = timedelta(days=3650)
_PEER_VALID = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=60)
"""Long enough to notice an operator that is down, or a cluster that is paused, before anything ends."""
Values = Mapping[str, bytes]


def certificates(secret: CertificateSecret, held: Values, now: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """A new peer certificate of the authority that is held, or of a new one where there is none that lasts.

    While a former authority has not ended it stays among the trusted ones, so that servers which still show its
    certificate are believed by those that were restarted before them.
    """
    authority, trusted = _authority(held, now), held.get("ca.crt", b"")
    if authority is None:
        authority = CertificateAuthority.create(f"{secret.common_name} CA", now=now, valid_for=_AUTHORITY_VALID)
        former = _first_certificate(trusted, now)
        trusted = authority.certificate_pem + former
    pair = authority.issue(
        secret.common_name,
        now=now,
        valid_for=_PEER_VALID,
        usage=Usage.PEER,
        dns_names=secret.dns_names,
        ip_addresses=("127.0.0.1",),
    )
    ends = certificate_facts(pair.certificate_pem).expires_at
    renew_at = ends - int(_RENEW_BEFORE.total_seconds() * 1000)
    values = {
        "ca.crt": trusted,
        "ca.key": authority.key_pem,
        "tls.crt": pair.certificate_pem,
        "tls.key": pair.key_pem,
    }
    return values, {RENEW_AT: str(renew_at)}


def _authority(held: Values, now: int) -> CertificateAuthority | None:
    """The held authority, if it outlives a certificate that it issues now."""
    try:
        authority = CertificateAuthority.load(held.get("ca.crt", b""), held.get("ca.key", b""))
    except UnusableCertificate:
        return None
    lasts = authority.expires_at > now + int(_PEER_VALID.total_seconds() * 1000)
    return authority if lasts else None


def _first_certificate(pem: bytes, now: int) -> bytes:
    """The first certificate of a PEM text, while it has not ended."""
    try:
        if certificate_facts(pem).expires_at <= now:
            return b""
    except UnusableCertificate:
        return b""
    end = b"-----END CERTIFICATE-----\n"
    return pem[: pem.index(end) + len(end)] if end in pem else b""
