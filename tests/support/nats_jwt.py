"""Operators, accounts and users of NATS as signed JWTs, the way `nsc` makes them. Format: nats-io/jwt, version 2."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
_SEED = 18 << 3


class Identity:
    """A key of one role (the prefix byte of its public name)."""

    def __init__(self, role: int) -> None:
        self._role, self._key = role, Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        return _encoded(bytes([self._role]) + self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        prefix = bytes([_SEED | self._role >> 5, (self._role & 31) << 3])
        return _encoded(prefix + self._key.private_bytes_raw())

    def claim(self, subject: Identity, name: str, nats: dict[str, object]) -> str:
        """A JWT in which this identity vouches for `subject`."""
        claims: dict[str, object] = {"iat": 1_700_000_000, "iss": self.public, "name": name, "sub": subject.public}
        claims["nats"] = {**nats, "version": 2}
        claims["jti"] = hashlib.sha256(json.dumps(claims).encode()).hexdigest()
        text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
        return f"{text}.{_url(self._key.sign(text.encode()))}"


class Operator:
    """An operator with one account that may use JetStream, and its users."""

    def __init__(self) -> None:
        self._operator, self._account, self._system = Identity(OPERATOR), Identity(ACCOUNT), Identity(ACCOUNT)

    def config(self) -> str:
        """The server's configuration."""
        operator = self._operator.claim(
            self._operator, "test", {"type": "operator", "system_account": self._system.public}
        )
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "wildcards": True}
        account = self._operator.claim(self._account, "tapio", {"type": "account", "limits": limits | storage})
        system = self._operator.claim(self._system, "SYS", {"type": "account", "limits": limits})
        preload = json.dumps({self._account.public: account, self._system.public: system})
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {preload}\n"

    def write_credentials(self, path: Path, *, known: bool = True) -> Path:
        """A user's credentials file; not `known` means that nobody the server trusts vouches for the user."""
        user = Identity(USER)
        issuer = self._account if known else Identity(ACCOUNT)
        jwt = issuer.claim(user, "tester", {"type": "user", "subs": -1, "data": -1, "payload": -1})
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return path


def _encoded(body: bytes) -> str:
    checksum = binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body + checksum).decode().rstrip("=")


def _part(document: dict[str, object]) -> str:
    return _url(json.dumps(document, separators=(",", ":")).encode())


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
