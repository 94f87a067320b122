"""A kubeconfig for a ServiceAccount, so that every service runs with the rights that deploy/ gives it and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import yaml

from tapio_cli.kubectl import Kubectl
from tapio_shared.json import JsonObject, object_at, objects_at, str_at

_VALID = 7 * 24 * 3600
"""Seconds a token is asked for: a local run may go on for days."""


async def service_kubeconfig(kubectl: Kubectl, admin: Path, namespace: str, name: str) -> str:
    """The text of a kubeconfig that authenticates as ServiceAccount `namespace/name`, by a token of its own."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _VALID},
    }
    answer = await kubectl.run(
        "create",
        "--raw",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
        "-f",
        "-",
        stdin=json.dumps(request).encode(),
    )
    token = str_at(cast("JsonObject", json.loads(answer)), "status", "token")
    document = cast("JsonObject", yaml.safe_load(admin.read_text()))
    clusters = objects_at(document, "clusters")
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "target", "cluster": object_at(clusters[0], "cluster")}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "target", "user": name}}],
            "current-context": name,
        }
    )
