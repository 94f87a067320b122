"""Objects that several components have alike: ServiceAccount, Service, ConfigMap, budget, Deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import yaml

from tapio_reconciler.core.objects.autoscaling import is_autoscaled
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.draining import holds_up_drains
from tapio_shared.api.effective import Scaling
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, str_at

_EVICTS_UNHEALTHY_SINCE = (1, 27)
"""unhealthyPodEvictionPolicy is on by default; https://kubernetes.io/docs/tasks/run-application/configure-pdb/"""


def build_service_account(metadata: JsonObject) -> JsonObject:
    """A ServiceAccount whose token is mounted only where a pod asks for it."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }


def build_config_map(metadata: JsonObject, data: Mapping[str, str]) -> JsonObject:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(sorted(data.items()))}


def configuration_text(document: JsonObject) -> str:
    """A program's configuration as YAML. Written by libyaml, which every wheel of PyYAML holds: a fifth of the time."""
    return _written(encode(document))


@lru_cache(maxsize=512)
def _written(document: bytes) -> str:
    text: str = yaml.dump(msgspec.json.decode(document), Dumper=yaml.CSafeDumper, sort_keys=True)
    return text


def build_service(
    metadata: JsonObject,
    selector: JsonObject,
    ports: Mapping[str, int],
    *,
    headless: bool = False,
    more: JsonObject | None = None,
) -> JsonObject:
    """A Service on named container ports. A headless one publishes pods that are not ready, so that peers meet.

    `more` is what its spec holds besides, such as another type.
    """
    spec: JsonObject = {
        "type": "ClusterIP",
        "selector": selector,
        "ports": [
            {"name": name, "port": number, "targetPort": name, "protocol": "TCP"} for name, number in ports.items()
        ],
    }
    if headless:
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    spec |= more or {}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def build_disruption_budget(
    ctx: Context, metadata: JsonObject, template: JsonObject, selector: JsonObject, replicas: int
) -> JsonObject | None:
    """At most one pod away at a time, so that drains go on. None for a single replica, and none where it would hold a
    drain up for ever, since what is evicted can't start elsewhere: see `draining.py`.

    A pod that is not ready is evicted whatever the others do: one that can't become ready would hold its node's drain
    up for ever.
    """
    version = ctx.served.api_version("policy", "PodDisruptionBudget", "v1", "v1beta1")
    if replicas < 2 or not version or holds_up_drains(ctx, template, replicas):
        return None
    body: JsonObject = {"maxUnavailable": 1, "selector": {"matchLabels": selector}}
    if ctx.served.is_at_least(*_EVICTS_UNHEALTHY_SINCE):
        body["unhealthyPodEvictionPolicy"] = "AlwaysAllow"
    return {"apiVersion": version, "kind": "PodDisruptionBudget", "metadata": metadata, "spec": body}


def build_deployment(
    ctx: Context,
    metadata: JsonObject,
    selector: JsonObject,
    template: JsonObject,
    scaling: Scaling,
    *,
    max_unavailable: int = 0,
) -> JsonObject:
    """A Deployment; `replicas` is left to the autoscaler where there is one (and kept until it has taken over)."""
    spec: JsonObject = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": max_unavailable}},
        "revisionHistoryLimit": 3,
        "template": template,
    }
    if not is_autoscaled(ctx, str_at(metadata, "name"), scaling):
        spec["replicas"] = scaling.replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def present(objects: Sequence[JsonObject | None]) -> tuple[JsonObject, ...]:
    """The objects that are wanted."""
    return tuple(one for one in objects if one is not None)
