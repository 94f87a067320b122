"""Keys, certificates and kubeconfigs of one control plane, made anew for each and worthless outside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.json import JsonObject

VALID_FOR = timedelta(days=7)
CLUSTER = "tapio-test"
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", "::1", "10.0.0.1")


class Credentials:
    """The files below `folder`. `server` is the API server's URL that the kubeconfigs name."""

    def __init__(self, folder: Path, server: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._server, self._clock = folder, server, SystemClock()
        now = self._clock.now()
        self._authority = CertificateAuthority.create(CLUSTER, now=now, valid_for=VALID_FOR)
        self.authority_file = self._write("ca.crt", self._authority.certificate_pem)
        serving = self._authority.issue(
            "kube-apiserver",
            now=now,
            valid_for=VALID_FOR,
            usage=Usage.SERVER,
            dns_names=_SERVER_NAMES,
            ip_addresses=_SERVER_ADDRESSES,
        )
        self.serving_certificate = self._write("apiserver.crt", serving.certificate_pem)
        self.serving_key = self._write("apiserver.key", serving.key_pem)
        private, public = service_account_keys()
        self.service_account_private_key = self._write("service-account.key", private)
        self.service_account_public_key = self._write("service-account.pub", public)

    def kubeconfig_for(
        self, user: str, groups: Sequence[str] = (), *, name: str = "", valid_for: timedelta = VALID_FOR
    ) -> Path:
        """A kubeconfig that proves `user` and `groups` by a client certificate; the same arguments, the same file."""
        stem = name or _file_name(user, groups)
        path = self._folder / f"{stem}.kubeconfig"
        if not path.exists():
            pair = self._authority.issue(
                user, now=self._clock.now(), valid_for=valid_for, usage=Usage.CLIENT, organizations=groups
            )
            certificate = self._write(f"{stem}.crt", pair.certificate_pem)
            key = self._write(f"{stem}.key", pair.key_pem)
            self._write_kubeconfig(path, user, {"client-certificate": str(certificate), "client-key": str(key)})
        return path

    def kubeconfig_with_token(self, user: str, token: str) -> Path:
        """A kubeconfig that presents `token`; written anew each time, since tokens end."""
        path = self._folder / f"{_file_name(user, ())}.kubeconfig"
        self._write_kubeconfig(path, user, {"token": token})
        return path

    def _write_kubeconfig(self, path: Path, user: str, proof: JsonObject) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": CLUSTER,
                    "cluster": {"server": self._server, "certificate-authority": str(self.authority_file)},
                }
            ],
            "users": [{"name": user, "user": proof}],
            "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user}}],
            "current-context": CLUSTER,
        }
        self._write(path.name, yaml.safe_dump(document, sort_keys=False).encode())

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def _file_name(user: str, groups: Sequence[str]) -> str:
    """Readable and unique: two users never share a file, whatever characters their names hold."""
    digest = hashlib.sha256("\0".join((user, *groups)).encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9]+', '-', user)[:60]}-{digest}"


def service_account_keys() -> tuple[bytes, bytes]:
    """A new (private, public) key pair in PEM, as kube-apiserver signs and verifies service-account tokens with."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public
