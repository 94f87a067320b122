"""What the Kubernetes collector may read: get, list and watch of what it reports on, never Secrets unless asked.

The operator may grant only what it holds (no `escalate`, no `bind`): `GRANTED_RULES` is what deploy/ gives it. A
collector that is limited to namespaces gets a Role in each of them and no ClusterRole, so that its account reads
nothing of the whole cluster, not even the names of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.effective import EffectiveCollector
from tapio_shared.json import JsonObject, JsonValue, list_at

_READ: list[JsonValue] = ["get", "list", "watch"]
_RBAC = "rbac.authorization.k8s.io"

GRANTED_RULES: tuple[JsonObject, ...] = (
    {
        "apiGroups": [""],
        "resources": [
            "configmaps",
            "endpoints",
            "events",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "replicationcontrollers",
            "resourcequotas",
            "services",
        ],
        "verbs": _READ,
    },
    {
        "apiGroups": ["apps"],
        "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"],
        "verbs": _READ,
    },
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": _READ},
    {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": _READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": _READ},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "networkpolicies"], "verbs": _READ},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses", "volumeattachments"], "verbs": _READ},
)
SECRETS_RULE: JsonObject = {"apiGroups": [""], "resources": ["secrets"], "verbs": _READ}
"""Only with `watchSecrets`; the operator holds it only where the optional ClusterRole of deploy/ is bound."""


_CLUSTER_SCOPED = frozenset({"namespaces", "nodes", "persistentvolumes", "storageclasses", "volumeattachments"})


def kubernetes_roles(
    ctx: Context, collector: EffectiveCollector, app: str, component: str, account: str
) -> list[JsonObject]:
    """A ClusterRole and its binding; or a Role and its binding in each of the `namespaces` that are observed."""
    rules = [*GRANTED_RULES, *((SECRETS_RULE,) if collector.watch_secrets else ())]
    subject: JsonObject = {"kind": "ServiceAccount", "name": account, "namespace": ctx.namespace}
    if not collector.namespaces:
        return _bound("ClusterRole", ctx.cluster_metadata(app, component), rules, subject)
    objects: list[JsonObject] = []
    for namespace in sorted(set(collector.namespaces)):
        metadata = ctx.metadata(ctx.node_child(f"{component}-observer"), app, component, collector=component)
        metadata["namespace"] = namespace
        if namespace != ctx.namespace:
            metadata.pop("ownerReferences")  # An owner of another namespace counts as gone, and so would this.
        objects += _bound("Role", metadata, _namespaced(rules), subject)
    return objects


def _bound(kind: str, metadata: JsonObject, rules: Sequence[JsonObject], subject: JsonObject) -> list[JsonObject]:
    """A role, and its binding of the same name."""
    api: JsonObject = {"apiVersion": f"{_RBAC}/v1"}
    return [
        {**api, "kind": kind, "metadata": metadata, "rules": [dict(rule) for rule in rules]},
        {
            **api,
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": metadata["name"]},
            "subjects": [subject],
        },
    ]


def _namespaced(rules: Sequence[JsonObject]) -> list[JsonObject]:
    """Without the resources of the whole cluster, which a Role can't grant."""
    left: list[JsonObject] = []
    for rule in rules:
        resources = [one for one in list_at(rule, "resources") if one not in _CLUSTER_SCOPED]
        if resources:
            left.append({**rule, "resources": resources})
    return left
