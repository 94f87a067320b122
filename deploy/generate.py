"""Generates the RBAC of deploy/, and what deploy/{legacy,target} repeat: `make deploy-manifests`; `--check` compares.

What a service may do follows from what its code does: the kinds that are watched and written stand in
`tapio_shared.api.kinds`, what the operator hands on to the Kubernetes collector in `kubernetes_rbac`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from tapio_reconciler.core.objects.kubernetes_rbac import GRANTED_RULES, SECRETS_RULE
from tapio_shared.api.kinds import FLEET_KINDS, MANAGED_KINDS, OBSERVED_KINDS, RESOURCE_KINDS, Kind
from tapio_shared.api.operator_config import CONFIG_MAP
from tapio_shared.installation import NAMESPACE, WEBHOOK_CERTIFICATE, WEBHOOK_CONFIGURATION
from tapio_shared.json import JsonObject, JsonValue

HERE = Path(__file__).parent
RBAC = "rbac.authorization.k8s.io"
SERVICES = ("watcher", "reconciler", "webhook")
_HEADER = "# Made by `make deploy-manifests` from deploy/generate.py; edit that instead.\n"


def documents() -> list[JsonObject]:
    """ServiceAccounts, roles and bindings of all services."""
    found: list[JsonObject] = [_account(service) for service in SERVICES]
    found += [
        _cluster_role("watcher", watcher_rules()),
        _cluster_role("reconciler", reconciler_rules()),
        _cluster_role("operator-grants", [dict(rule) for rule in GRANTED_RULES]),
        _cluster_role("operator-grants-secrets", [dict(SECRETS_RULE)]),
        _cluster_role("webhook", webhook_rules()),
        _binding("watcher", "watcher"),
        _binding("reconciler", "reconciler"),
        _binding("operator-grants", "reconciler"),
        _binding("webhook", "webhook"),
        _role("watcher", watcher_own_rules()),
        _role("webhook", webhook_own_rules()),
        _own_binding("watcher"),
        _own_binding("webhook"),
    ]
    return found


def target_documents() -> list[JsonObject]:
    """Of a target: the identity whose credentials its Secret holds, with the rights of watcher and reconciler."""
    granted = ("watcher", "reconciler", "operator-grants")
    return [
        _account("target"),
        _cluster_role("watcher", watcher_rules()),
        _cluster_role("reconciler", reconciler_rules()),
        _cluster_role("operator-grants", [dict(rule) for rule in GRANTED_RULES]),
        _cluster_role("operator-grants-secrets", [dict(SECRETS_RULE)]),
        *(_binding(role, "target") for role in granted),
    ]


def watcher_rules() -> list[JsonObject]:
    """Read what is watched; Secrets one by one, never by a list; of Events those of refused pods."""
    kinds = (*RESOURCE_KINDS, *MANAGED_KINDS, *OBSERVED_KINDS, *FLEET_KINDS)
    return [
        *_by_group(kinds, ["get", "list", "watch"]),
        _rule("", ["secrets"], ["get", "watch"]),
        _rule("", ["events"], ["list", "watch"]),
    ]


def watcher_own_rules() -> list[JsonObject]:
    """In the operator's namespace: the leases, the key that Secrets are digested with, and the Secrets of targets."""
    return [
        _rule("coordination.k8s.io", ["leases"], ["get", "create", "update"]),
        _rule("", ["secrets"], ["create", "list"]),
        _rule("", ["configmaps"], ["get", "list", "watch"]),
    ]


def reconciler_rules() -> list[JsonObject]:
    """Write what is rendered. No list, no watch, and get on Secrets alone: the log is the state."""
    plurals = [kind.plural for kind in RESOURCE_KINDS]
    return [
        *_by_group(MANAGED_KINDS, ["create", "patch", "delete"]),
        _rule("", ["secrets"], ["get", "create", "patch", "delete"]),
        _rule("", ["persistentvolumeclaims"], ["patch", "delete"]),
        _rule("", ["pods"], ["delete"]),
        _rule("", ["events"], ["create", "patch"]),
        _rule("tapio.io", ["tapioclusters"], ["patch"]),
        _rule("tapio.io", ["tapioclusters/finalizers"], ["update"]),
        _rule("tapio.io", [f"{plural}/status" for plural in plurals], ["patch"]),
    ]


def webhook_rules() -> list[JsonObject]:
    """Its own two registrations; `create` can't be limited to a name."""
    group = "admissionregistration.k8s.io"
    resources = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
    named = _rule(group, resources, ["get", "patch", "delete"])
    named["resourceNames"] = [WEBHOOK_CONFIGURATION]
    return [_rule(group, resources, ["create"]), named]


def webhook_own_rules() -> list[JsonObject]:
    """In the operator's namespace: its certificate's Secret and the operator's configuration."""
    secret = _rule("", ["secrets"], ["get", "update"])
    secret["resourceNames"] = [WEBHOOK_CERTIFICATE]
    config = _rule("", ["configmaps"], ["get"])
    config["resourceNames"] = [CONFIG_MAP]
    return [_rule("", ["secrets"], ["create"]), secret, config]


def _by_group(kinds: Iterable[Kind], verbs: list[str]) -> list[JsonObject]:
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, []).append(kind.plural)
    return [_rule(group, sorted(plurals), verbs) for group, plurals in sorted(groups.items())]


def _rule(group: str, resources: list[str], verbs: list[str]) -> JsonObject:
    return {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}


def _labels() -> JsonObject:
    return {"app": "tapio-operator", "app.kubernetes.io/name": "tapio-operator", "app.kubernetes.io/part-of": "tapio"}


def _account(service: str) -> JsonObject:
    metadata: JsonObject = {"name": f"tapio-{service}", "namespace": NAMESPACE, "labels": _labels()}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _cluster_role(name: str, rules: list[JsonObject]) -> JsonObject:
    metadata: JsonObject = {"name": f"tapio-{name}", "labels": _labels()}
    return {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [*rules]}


def _role(service: str, rules: list[JsonObject]) -> JsonObject:
    metadata: JsonObject = {"name": f"tapio-{service}", "namespace": NAMESPACE, "labels": _labels()}
    return {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [*rules]}


def _binding(role: str, service: str) -> JsonObject:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"tapio-{role}", "labels": _labels()},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"tapio-{role}"},
        "subjects": _subjects(service),
    }


def _own_binding(service: str) -> JsonObject:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"tapio-{service}", "namespace": NAMESPACE, "labels": _labels()},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": f"tapio-{service}"},
        "subjects": _subjects(service),
    }


def _subjects(service: str) -> list[JsonValue]:
    return [{"kind": "ServiceAccount", "name": f"tapio-{service}", "namespace": NAMESPACE}]


def files() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    crds = (HERE.parent / "crds" / "crds-legacy.yaml").read_text()
    return {
        HERE / "operator" / "rbac.yaml": _HEADER + yaml.safe_dump_all(documents(), sort_keys=False),
        HERE / "legacy" / "crds.yaml": crds,
        HERE / "target" / "rbac.yaml": _HEADER + yaml.safe_dump_all(target_documents(), sort_keys=False),
        HERE / "target" / "namespaces.yaml": (HERE / "operator" / "namespaces.yaml").read_text(),
        HERE / "target" / "quotas.yaml": (HERE / "operator" / "quotas.yaml").read_text(),
    }


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` answer 1 when one of them differs."""
    different = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in different:
            sys.stderr.write(f"{path} differs from what deploy/generate.py makes; run `make deploy-manifests`.\n")
        return 1 if different else 0
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
