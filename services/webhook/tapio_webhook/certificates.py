"""The webhook's certificate: an authority of our own in a Secret that all replicas share, renewed in time.

The first replica makes it, the others read it; a renewal replaces the leaf under the same authority, and a new
authority is trusted beside the old one until the old one's leaves are gone. The live TLS context takes a new pair
without dropping a connection.
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

from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiRetryable
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Clock, Kube

log = structlog.get_logger(__name__)

SECRET = "tapio-webhook-certificate"  # noqa: S105 - the name of a Secret
_AUTHORITY_LIFE, _LEAF_LIFE = timedelta(days=3650), timedelta(days=90)
_RENEW_BEFORE = timedelta(days=30)
_RENEW_AT = "tapio.io/renew-at"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the Secret holds, as PEM texts. `bundle` is what API servers are told to trust."""

    authority: str
    authority_key: str
    certificate: str
    key: str
    renew_at: int


class CertificateStore:
    """The pair in its Secret, and the TLS context that serves it."""

    def __init__(
        self, kube: Kube, clock: Clock, *, namespace: str, names: tuple[str, ...], addresses: tuple[str, ...]
    ) -> None:
        self._kube, self._clock, self._namespace = kube, clock, namespace
        self._names, self._addresses = names, addresses
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded = ""
        self.bundle = ""

    async def refresh(self) -> bool:
        """Make, renew or read the pair and load it; answers whether anything changed."""
        found, version = await self._read()
        if found is None or self._clock.now() >= found.renew_at:
            found = await self._write(self._issue(found), version)
        if found.certificate == self._loaded:
            return False
        self._load(found)
        return True

    def _issue(self, known: Certificates | None) -> Certificates:
        now = self._clock.now()
        if known is None:
            authority = CertificateAuthority.create("tapio-webhook-ca", now=now, valid_for=_AUTHORITY_LIFE)
        else:
            authority = CertificateAuthority.load(known.authority.encode(), known.authority_key.encode())
        pair = authority.issue(
            self._names[0],
            dns_names=self._names,
            ip_addresses=self._addresses,
            now=now,
            valid_for=_LEAF_LIFE,
            usage=Usage.SERVER,
        )
        log.info("certificate issued", names=list(self._names), days=_LEAF_LIFE.days)
        return Certificates(
            authority=authority.certificate_pem.decode(),
            authority_key=authority.key_pem.decode(),
            certificate=pair.certificate_pem.decode(),
            key=pair.key_pem.decode(),
            renew_at=now + int((_LEAF_LIFE - _RENEW_BEFORE) / timedelta(milliseconds=1)),
        )

    def _load(self, found: Certificates) -> None:
        """Check the pair on a context of its own first: a broken one must not replace a working one."""
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
            certificate.write_text(found.certificate)
            key.touch(mode=0o600)
            key.write_text(found.key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
            self.context.load_cert_chain(certificate, key)
        self._loaded, self.bundle = found.certificate, found.authority

    async def _read(self) -> tuple[Certificates | None, str]:
        response = await self._kube.request("GET", object_path("", "v1", "secrets", self._namespace, SECRET))
        if response.status == 404:
            return None, ""
        document = cast("JsonObject", decode_as(dict, check(response)))
        data = {name: base64.b64decode(str(value)).decode() for name, value in object_at(document, "data").items()}
        version = str_at(document, "metadata", "resourceVersion")
        if not {"ca.crt", "ca.key", "tls.crt", "tls.key"} <= data.keys():
            return None, version
        renew_at = str_at(document, "metadata", "annotations", _RENEW_AT, default="0")
        return (
            Certificates(data["ca.crt"], data["ca.key"], data["tls.crt"], data["tls.key"], int(renew_at)),
            version,
        )

    async def _write(self, wanted: Certificates, version: str) -> Certificates:
        """Store `wanted`; when another replica was faster, what it stored counts."""
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": SECRET,
                "namespace": self._namespace,
                "annotations": {_RENEW_AT: str(wanted.renew_at)},
                **({"resourceVersion": version} if version else {}),
            },
            "stringData": {
                "ca.crt": wanted.authority,
                "ca.key": wanted.authority_key,
                "tls.crt": wanted.certificate,
                "tls.key": wanted.key,
            },
        }
        name = SECRET if version else ""
        response = await self._kube.request(
            "PUT" if version else "POST",
            object_path("", "v1", "secrets", self._namespace, name),
            body=encode(body),
        )
        if response.status == 409:
            found, _ = await self._read()
            if found is None:
                raise ApiRetryable(409, "Conflict", f"Secret {self._namespace}/{SECRET} changed while it was read")
            return found
        check(response)
        return wanted
