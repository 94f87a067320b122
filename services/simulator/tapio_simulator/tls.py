"""What the simulated API server serves TLS with, and what its administrator proves himself by."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from tapio_shared.certificates import CertificateAuthority, KeyPair, Usage

_LIFE = timedelta(days=365)


def new_authority(now: int) -> CertificateAuthority:
    """An authority that lives as long as a simulated cluster is ever used. `now` in milliseconds."""
    return CertificateAuthority.create("tapio-simulator-ca", now=now, valid_for=_LIFE)


def serving_pair(authority: CertificateAuthority, hosts: Iterable[str], now: int) -> KeyPair:
    """A serving certificate for host names and IP addresses."""
    names = sorted(set(hosts))
    addresses = [host for host in names if _is_address(host)]
    return authority.issue(
        "tapio-simulator",
        now=now,
        valid_for=_LIFE,
        usage=Usage.SERVER,
        dns_names=[host for host in names if host not in addresses],
        ip_addresses=addresses,
    )


def client_pair(authority: CertificateAuthority, user: str, groups: tuple[str, ...], now: int) -> KeyPair:
    """A client certificate of `user` in `groups`."""
    return authority.issue(user, now=now, valid_for=_LIFE, usage=Usage.CLIENT, organizations=groups)


def server_context(pair: KeyPair, authority: CertificateAuthority, folder: Path) -> ssl.SSLContext:
    """A TLS context that serves `pair` and accepts, but doesn't demand, client certificates of `authority`."""
    certificate, key = folder / "apiserver.crt", folder / "apiserver.key"
    write_private(certificate, pair.certificate_pem)
    write_private(key, pair.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate_pem.decode())
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def write_private(path: Path, data: bytes) -> None:
    """Write `data` so that only this user can read it."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
