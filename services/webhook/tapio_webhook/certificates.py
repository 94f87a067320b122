"""The webhook's certificate: an authority of our own in a Secret that all replicas share, renewed in time.

The first replica makes it, the others read it. A renewal replaces the leaf under the same authority. An authority that
nears its end gets a successor, which API servers are told to trust at one renewal and which issues from the next on, so
that no leaf is ever served before it is trusted. The live TLS context takes a new pair without dropping a connection.
What the Secret holds is checked before it is used; what can't be used is made anew.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import structlog

from tapio_shared.certificates import CertificateAuthority, KeyPair, UnusableCertificate, Usage, certificate_facts
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiRetryable
from tapio_shared.installation import WEBHOOK_CERTIFICATE
from tapio_shared.json import JsonObject, str_at, strings_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Clock, Kube

log = structlog.get_logger(__name__)

_AUTHORITY_LIFE, _LEAF_LIFE = timedelta(days=3650), timedelta(days=90)
_RENEW_BEFORE = timedelta(days=30)
_SUCCEED_BEFORE = 2 * _LEAF_LIFE
"""An authority that ends sooner gets a successor: two renewals fit in, so the successor issues before the end."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the Secret holds."""

    authority: CertificateAuthority
    pair: KeyPair
    successor: CertificateAuthority | None = None
    """Trusted already, and issues from the next renewal on."""
    former: str = ""
    """PEM of the authority that issued before, trusted until the next renewal: a replica may still serve its leaf."""

    @property
    def bundle(self) -> str:
        """What API servers are told to trust, as PEM; the issuing authority first."""
        successor = self.successor.certificate_pem.decode() if self.successor else ""
        return self.authority.certificate_pem.decode() + successor + self.former

    @property
    def names(self) -> frozenset[str]:
        """Host names and addresses that the pair is for."""
        facts = certificate_facts(self.pair.certificate_pem)
        return frozenset((*facts.dns_names, *facts.ip_addresses))


class CertificateStore:
    """The pair in its Secret, and the TLS context that serves it."""

    def __init__(
        self, kube: Kube, clock: Clock, *, namespace: str, names: tuple[str, ...], addresses: tuple[str, ...]
    ) -> None:
        self._kube, self._clock, self._namespace = kube, clock, namespace
        self._names, self._addresses = names, addresses
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded: KeyPair | None = None
        self.bundle = ""

    async def refresh(self) -> None:
        """Make, renew or read the pair, and load it when it is another one."""
        found, version = await self._read()
        if found is None or self._is_due(found):
            found = await self._write(self._issue(found), version)
        if found.pair != self._loaded:
            self._load(found.pair)
        self.bundle = found.bundle

    def _is_due(self, found: Certificates) -> bool:
        ends = certificate_facts(found.pair.certificate_pem).expires_at
        return not found.names.issuperset((*self._names, *self._addresses)) or ends <= self._after(_RENEW_BEFORE)

    def _issue(self, known: Certificates | None) -> Certificates:
        """A new leaf, by the known authority, its successor, or a new one."""
        successor: CertificateAuthority | None = None
        former = ""
        dns_names, addresses = set(self._names), set(self._addresses)
        if known is None:
            authority = self._new_authority()
        else:
            # A replica of another version or configuration may need other names: taking turns would help nobody.
            facts = certificate_facts(known.pair.certificate_pem)
            dns_names |= set(facts.dns_names)
            addresses |= set(facts.ip_addresses)
            authority = known.authority
            if authority.expires_at <= self._after(_SUCCEED_BEFORE):
                if known.successor is None and authority.expires_at > self._after(_RENEW_BEFORE):
                    successor = self._new_authority()
                else:
                    former = authority.certificate_pem.decode()
                    authority = known.successor or self._new_authority()
        pair = authority.issue(
            WEBHOOK_CERTIFICATE,
            dns_names=sorted(dns_names),
            ip_addresses=sorted(addresses),
            now=self._clock.now(),
            valid_for=_LEAF_LIFE,
            usage=Usage.SERVER,
        )
        log.info("certificate issued", names=sorted(dns_names | addresses), days=_LEAF_LIFE.days)
        return Certificates(authority, pair, successor, former)

    def _new_authority(self) -> CertificateAuthority:
        return CertificateAuthority.create("tapio-webhook-ca", now=self._clock.now(), valid_for=_AUTHORITY_LIFE)

    def _after(self, span: timedelta) -> int:
        return self._clock.now() + int(span / timedelta(milliseconds=1))

    def _load(self, pair: KeyPair) -> None:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
            certificate.write_bytes(pair.certificate_pem)
            key.touch(mode=0o600)
            key.write_bytes(pair.key_pem)
            self.context.load_cert_chain(certificate, key)
        self._loaded = pair

    async def _read(self) -> tuple[Certificates | None, str]:
        """What the Secret holds, None when there is none or it can't be used; and the Secret's version, if any."""
        response = await self._kube.request(
            "GET", object_path("", "v1", "secrets", self._namespace, WEBHOOK_CERTIFICATE)
        )
        if response.status == 404:
            return None, ""
        document = cast("JsonObject", decode_as(dict, check(response)))
        version = str_at(document, "metadata", "resourceVersion")
        try:
            return _certificates(strings_at(document, "data")), version
        except (UnusableCertificate, ValueError) as err:
            log.warning("certificate not usable; making a new one", secret=WEBHOOK_CERTIFICATE, error=str(err))
            return None, version

    async def _write(self, wanted: Certificates, version: str) -> Certificates:
        """Store `wanted`; when another replica was faster, what it stored counts."""
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": WEBHOOK_CERTIFICATE,
                "namespace": self._namespace,
                **({"resourceVersion": version} if version else {}),
            },
            "data": _data(wanted),
        }
        name = WEBHOOK_CERTIFICATE if version else ""
        response = await self._kube.request(
            "PUT" if version else "POST",
            object_path("", "v1", "secrets", self._namespace, name),
            body=encode(body),
        )
        if response.status == 409:
            found, _ = await self._read()
            if found is None:
                raise ApiRetryable(
                    409, "Conflict", f"Secret {self._namespace}/{WEBHOOK_CERTIFICATE} changed while it was read"
                )
            return found
        check(response)
        return wanted


def _data(wanted: Certificates) -> JsonObject:
    """The Secret's data."""
    parts = {
        "ca.crt": wanted.authority.certificate_pem,
        "ca.key": wanted.authority.key_pem,
        "tls.crt": wanted.pair.certificate_pem,
        "tls.key": wanted.pair.key_pem,
    }
    if wanted.successor is not None:
        parts |= {"successor.crt": wanted.successor.certificate_pem, "successor.key": wanted.successor.key_pem}
    if wanted.former:
        parts["former.crt"] = wanted.former.encode()
    return {name: base64.b64encode(value).decode() for name, value in parts.items()}


def _certificates(data: dict[str, str]) -> Certificates:
    """What the Secret's data holds. Raises `UnusableCertificate` or ValueError when they don't belong together."""
    parts = {name: base64.b64decode(value, validate=True) for name, value in data.items()}
    authority = CertificateAuthority.load(parts.get("ca.crt", b""), parts.get("ca.key", b""))
    pair = KeyPair(parts.get("tls.crt", b""), parts.get("tls.key", b""))
    authority.check(pair)
    successor = None
    if "successor.crt" in parts:
        successor = CertificateAuthority.load(parts["successor.crt"], parts.get("successor.key", b""))
    former = parts.get("former.crt", b"")
    if former:
        certificate_facts(former)
    return Certificates(authority, pair, successor, former.decode())
