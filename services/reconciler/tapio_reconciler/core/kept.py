"""What a TapioCollector whose spec can't be read runs by, as far as its observed objects tell.

Its own objects stay as they are. What others hold for it (who may reach NATS, who may publish what, a copy of its
password, alerts) is rendered from what is found here, as it was while the spec could be read.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import yaml

from tapio_reconciler.core.changes import is_managed
from tapio_reconciler.core.members import Member
from tapio_reconciler.core.state import Seen
from tapio_shared.api import names
from tapio_shared.api.collectors import COLLECTOR_TYPES, TapioCollectorSpec
from tapio_shared.api.names import NODE_COLLECTORS, collector_suffix
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, OrderingKey

_OS = "kubernetes.io/os"
"""Every pod asks for it: no choice of a spec."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a TapioCollector's workload and configuration tell of it."""

    type: str
    cluster: str
    node_selector: dict[str, str]
    configuration: str
    """Its configuration file."""


def running_collectors(
    members: tuple[Member, ...], cluster: JsonObject, seen: Mapping[ObjectRef, Seen], key: OrderingKey
) -> dict[str, Running]:
    """TapioCollector -> what tells of it, for those that have a workload. `cluster` is the TapioCluster's document."""
    found: dict[str, Running] = {}
    for ref, one in members:
        kind = str_at(one.document, "spec", "type")
        if kind not in COLLECTOR_TYPES:
            continue
        suffix = collector_suffix(kind, ref.name)
        if kind in NODE_COLLECTORS:
            namespace = str_at(cluster, "spec", "nodeAgents", "namespace") or names.NODE_NAMESPACE
            name = settings = names.node_agent_name(key.name, suffix, key.namespace)
            workload = ObjectRef("apps", "DaemonSet", namespace, name)
        else:
            namespace, name = key.namespace, names.child_name(key.name, suffix, key.namespace)
            settings = names.child_name(key.name, f"{suffix}-config", key.namespace)
            workload = ObjectRef("apps", "Deployment", namespace, name)
        runs = _living(seen, workload, key)
        if runs is not None:
            config = _living(seen, ObjectRef("", "ConfigMap", namespace, settings), key)
            found[ref.name] = Running(
                type=kind,
                cluster=key.name,
                node_selector=strings_at(runs, "spec", "template", "spec", "nodeSelector"),
                configuration=str_at(config, "data", "config.yaml"),
            )
    return found


def _living(seen: Mapping[ObjectRef, Seen], ref: ObjectRef, key: OrderingKey) -> JsonObject | None:
    """An object of this TapioCluster that is there to stay."""
    one = seen.get(ref)
    if one is None or one.document is None or str_at(one.document, "metadata", "deletionTimestamp"):
        return None
    return one.document if is_managed(one.document, cluster=key.name, namespace=key.namespace) else None


def known_spec(running: Running) -> JsonObject:
    """The spec with the choices that others depend on: the nodes, what is observed, and by which observers."""
    least: JsonObject = {"clusterRef": {"name": running.cluster}, "type": running.type}
    observers = _observers(running.configuration)
    spec: JsonObject = {
        **least,
        "nodeSelector": {name: value for name, value in sorted(running.node_selector.items()) if name != _OS},
        "config": {"observers": {name: {} for name in sorted(observers)}},
    }
    for field in ("namespaces", "endpoints"):
        values = [value for one in observers.values() if (value := object_at(one, "config").get(field))]
        if values:
            spec[field] = values[0]
    try:
        TapioCollectorSpec.from_document(spec)
    except ValueError:  # Somebody has edited the ConfigMap, which nobody sets right meanwhile.
        return least
    return spec


def _observers(text: str) -> JsonObject:
    """`observers` of a collector's configuration file; nothing where that is none."""
    try:
        document: JsonValue = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return {str(name): one for name, one in object_at(document, "observers").items()}
