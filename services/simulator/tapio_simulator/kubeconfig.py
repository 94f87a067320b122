"""Kubeconfig files that point at the simulated API server."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from tapio_shared.certificates import KeyPair
from tapio_shared.json import JsonObject
from tapio_simulator.tls import write_private


def write_kubeconfig(
    path: Path,
    *,
    server: str,
    authority: bytes,
    user: str,
    client: KeyPair | None = None,
    token: str = "",
    namespace: str = "default",
) -> None:
    """Write `path` for one context, `tapio-simulator`, with a client certificate or a bearer token."""
    credentials: JsonObject = {}
    if client is not None:
        credentials["client-certificate-data"] = base64.b64encode(client.certificate_pem).decode()
        credentials["client-key-data"] = base64.b64encode(client.key_pem).decode()
    if token:
        credentials["token"] = token
    name = "tapio-simulator"
    document: JsonObject = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()},
            }
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(document, sort_keys=False).encode())
