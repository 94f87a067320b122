"""What the Kubernetes collector may read: get, list and watch of what it reports on, never Secrets unless asked.

The operator may grant only what it holds (no `escalate`, no `bind`): `GRANTED_RULES` is what deploy/ gives it.
"""

from __future__ import annotations

from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.effective import EffectiveCollector
from tapio_shared.json import JsonObject, JsonValue

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


def kubernetes_roles(
    ctx: Context, collector: EffectiveCollector, app: str, component: str, account: str
) -> list[JsonObject]:
    """A ClusterRole, bound in the whole cluster, or in the `namespaces` that the collector is limited to."""
    rules: list[JsonValue] = [dict(rule) for rule in GRANTED_RULES]
    if collector.watch_secrets:
        rules.append(dict(SECRETS_RULE))
    subject: JsonObject = {"kind": "ServiceAccount", "name": account, "namespace": ctx.namespace}
    name = ctx.cluster_scoped(component)
    role: JsonObject = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": ctx.cluster_metadata(app, component),
        "rules": rules,
    }
    if not collector.namespaces:
        binding: JsonObject = {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": ctx.cluster_metadata(app, component),
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        }
        return [role, binding]
    bindings: list[JsonObject] = []
    for namespace in sorted(set(collector.namespaces)):
        metadata = ctx.metadata(ctx.node_child(f"{component}-reader"), app, component)
        metadata["namespace"] = namespace
        if namespace != ctx.namespace:
            metadata.pop("ownerReferences")
        bindings.append(
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
                "subjects": [subject],
            }
        )
    return [role, *bindings]
