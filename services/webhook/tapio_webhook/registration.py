"""The webhook's registration with the API server, which it adds and removes by itself (`webhooks.enabled`).

`failurePolicy: Ignore`: the planner runs the same checks, so an absent webhook costs early answers and nothing else.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import cast

from tapio_shared.api.names import API_GROUP
from tapio_shared.codec import decode_as, encode
from tapio_shared.installation import WEBHOOK, WEBHOOK_CONFIGURATION
from tapio_shared.json import JsonObject, objects_at
from tapio_shared.kubernetes import APPLY_PATCH, check, object_path
from tapio_shared.ports import Kube

_GROUP, _VERSION = "admissionregistration.k8s.io", "v1"
_TIMEOUT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where API servers reach the webhook: a URL, or the Service of the operator's namespace."""

    url: str = ""
    namespace: str = ""
    service: str = WEBHOOK
    port: int = 443

    def client_config(self, path: str, bundle: str) -> JsonObject:
        trusted = base64.b64encode(bundle.encode()).decode()
        if self.url:
            return {"url": f"{self.url}{path}", "caBundle": trusted}
        service: JsonObject = {"namespace": self.namespace, "name": self.service, "path": path, "port": self.port}
        return {"service": service, "caBundle": trusted}


async def register(kube: Kube, endpoint: Endpoint, bundle: str) -> bool:
    """Add or correct both registrations; answers whether any had to be written."""
    written = False
    for kind, plural, path in _KINDS:
        wanted = configuration(kind, path, endpoint, bundle)
        found = await kube.request("GET", object_path(_GROUP, _VERSION, plural, "", WEBHOOK_CONFIGURATION))
        if found.status != 404 and _holds(cast("JsonObject", decode_as(dict, check(found))), wanted):
            continue
        response = await kube.request(
            "PATCH",
            object_path(_GROUP, _VERSION, plural, "", WEBHOOK_CONFIGURATION),
            query={"fieldManager": WEBHOOK, "force": "true"},
            body=encode(wanted),
            content_type=APPLY_PATCH,
        )
        check(response)
        written = True
    return written


async def unregister(kube: Kube) -> None:
    """Take both registrations away."""
    for _, plural, _ in _KINDS:
        response = await kube.request("DELETE", object_path(_GROUP, _VERSION, plural, "", WEBHOOK_CONFIGURATION))
        if response.status != 404:
            check(response)


def _holds(found: JsonObject, wanted: JsonObject) -> bool:
    """Whether a registration has our handler as we want it, whatever the API server or others have added besides."""
    ours = objects_at(wanted, "webhooks")[0]
    return any(
        all(handler.get(name) == value for name, value in ours.items()) for handler in objects_at(found, "webhooks")
    )


def configuration(kind: str, path: str, endpoint: Endpoint, bundle: str) -> JsonObject:
    """One registration; `kind` is MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""
    handler: JsonObject = {
        "name": f"{path.strip('/')}.{API_GROUP}",
        "clientConfig": endpoint.client_config(path, bundle),
        "rules": [
            {
                "apiGroups": [API_GROUP],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["tapioclusters", "tapiocollectors", "tapiointelligences"],
                "scope": "Namespaced",
            }
        ],
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": _TIMEOUT,
        "admissionReviewVersions": ["v1"],
    }
    if kind == "MutatingWebhookConfiguration":
        handler["reinvocationPolicy"] = "IfNeeded"
    return {
        "apiVersion": f"{_GROUP}/{_VERSION}",
        "kind": kind,
        "metadata": {"name": WEBHOOK_CONFIGURATION},
        "webhooks": [handler],
    }


_KINDS = (
    ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "/mutate"),
    ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "/validate"),
)
