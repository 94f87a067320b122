"""What the API server's own admission plugins say to a new pod: ServiceAccount, Priority, DefaultTolerationSeconds,
PodSecurity. Texts are theirs, since workload controllers hand them on in Events and conditions.
"""

from __future__ import annotations

from tapio_shared.json import JsonObject, int_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.errors import forbidden
from tapio_simulator.pod_security import violation
from tapio_simulator.registry import Served
from tapio_simulator.store import Store

_SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_TOLERATION_SECONDS = 300


def admit_pod(store: Store, served: Served, document: JsonObject) -> None:
    """Complete a new pod, or raise StatusError 403. `document` is changed.

    Those that complete it come before it is named: a pod with a generated name is called by its prefix.
    """
    metadata, spec = object_at(document, "metadata"), object_at(document, "spec")
    namespace, name = str_at(metadata, "namespace"), str_at(metadata, "name")
    unnamed = str_at(metadata, "generateName") or name
    account = str_at(spec, "serviceAccountName") or "default"
    if store.get("serviceaccounts", (namespace, account)) is None:
        why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
        raise forbidden(served.resource, unnamed, why)
    _prioritise(store, served, unnamed, spec)
    _tolerate(spec)
    found = store.get("namespaces", ("", namespace))
    labels = {} if found is None else strings_at(found.document, "metadata", "labels")
    why = violation(labels, spec, metadata)
    if why:
        raise forbidden(served.resource, name, why)


def _prioritise(store: Store, served: Served, pod: str, spec: JsonObject) -> None:
    name = str_at(spec, "priorityClassName")
    if not name:
        return
    found = store.get("priorityclasses.scheduling.k8s.io", ("", name))
    if found is None and name not in _SYSTEM_PRIORITIES:
        raise forbidden(served.resource, pod, f"no PriorityClass with name {name} was found")
    spec["priority"] = _SYSTEM_PRIORITIES[name] if found is None else int_at(found.document, "value")
    if found is not None:
        spec["preemptionPolicy"] = str_at(found.document, "preemptionPolicy", default="PreemptLowerPriority")


def _tolerate(spec: JsonObject) -> None:
    """Pods leave a node that is gone after five minutes, unless they say otherwise."""
    own = objects_at(spec, "tolerations")
    added: list[JsonObject] = []
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if any(one.get("key") in (None, "", key) and one.get("effect") in (None, "", "NoExecute") for one in own):
            continue
        toleration: JsonObject = {"key": key, "operator": "Exists", "effect": "NoExecute"}
        toleration["tolerationSeconds"] = _TOLERATION_SECONDS
        added.append(toleration)
    if added:
        spec["tolerations"] = [*own, *added]
