"""The Nodes of a target, reduced to what placement needs; a node's heartbeat changes nothing in it.

Nodes that look alike are one group, so the fact grows with the kinds of nodes and not with their number. Which labels
of nodes are kept, so that this stays so, is in node_labels.py; what a node tells of its provider in platforms.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, at, objects_at, str_at, strings_at
from tapio_watcher.node_labels import without_distinguishing
from tapio_watcher.platforms import is_virtual, platform_of

_ZONE = "topology.kubernetes.io/zone"
_OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
_PSS = "pod-security.kubernetes.io/enforce"
_OWN_TAINT_PREFIX = "node.kubernetes.io/"
"""Taints that Kubernetes puts on by itself (not-ready, pressure) come and go; they are no property of the fleet."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """One node, reduced: a group of one, and whether pods may be scheduled onto it."""

    group: NodeGroup
    is_usable: bool


@dataclass(frozen=True, slots=True)
class SeenNamespace:
    """One namespace: its enforced Pod Security level, and whether it is not being deleted."""

    name: str
    enforced: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class SeenClass:
    """One StorageClass or PriorityClass."""

    name: str
    is_default: bool
    created: str
    expands: bool = False
    """Whether a StorageClass lets its volumes grow."""


def seen_node(node: JsonObject) -> SeenNode:
    """What the fleet keeps of a Node: nothing that changes with its heartbeat."""
    group = _group_of(node, ready=_is_ready(node))
    return SeenNode(group, at(node, "spec", "unschedulable") is not True)


def seen_namespace(namespace: JsonObject) -> SeenNamespace:
    """What the fleet keeps of a Namespace."""
    labels = strings_at(namespace, "metadata", "labels")
    active = str_at(namespace, "status", "phase", default="Active") == "Active"
    return SeenNamespace(str_at(namespace, "metadata", "name"), labels.get(_PSS, ""), active)


def seen_class(document: JsonObject) -> SeenClass:
    """What the fleet keeps of a StorageClass or PriorityClass."""
    annotations = strings_at(document, "metadata", "annotations")
    marked = "true" in {annotations.get(_DEFAULT_CLASS), annotations.get(_OLD_DEFAULT_CLASS)}
    return SeenClass(
        str_at(document, "metadata", "name"),
        marked,
        str_at(document, "metadata", "creationTimestamp"),
        at(document, "allowVolumeExpansion") is True,
    )


def fleet_of(
    nodes: Iterable[SeenNode],
    *,
    storage_classes: Iterable[SeenClass],
    namespaces: Iterable[SeenNamespace],
    priority_classes: Iterable[SeenClass],
    allowed_namespaces: Sequence[str],
    now: int,
) -> FleetObserved:
    """The fleet fact: groups of like nodes in a stable order, and the names that placement refers to."""
    seen = list(nodes)
    labels, dropped = without_distinguishing([node.group.labels for node in seen])
    groups: dict[bytes, NodeGroup] = {}
    hosts, zones = 0, set[str]()
    for node, kept in zip(seen, labels, strict=True):
        group = msgspec.structs.replace(node.group, labels=kept)
        if group.ready and node.is_usable:
            hosts += 1
            if group.zone:
                zones.add(group.zone)
        identity = _identity(group)
        known = groups.get(identity)
        groups[identity] = group if known is None else _together(known, group)
    classes = sorted(storage_classes, key=lambda one: one.name)
    return FleetObserved(
        groups=[groups[identity] for identity in sorted(groups)],
        hosts=hosts,
        zones=sorted(zones),
        storage_classes=[one.name for one in classes],
        default_storage_class=_default_class(classes),
        expandable_storage_classes=[one.name for one in classes if one.expands],
        namespaces={
            one.name: one.enforced
            for one in sorted(namespaces, key=lambda entry: entry.name)
            if one.name in allowed_namespaces and one.is_active
        },
        priority_classes=sorted(one.name for one in priority_classes),
        dropped_labels=dropped,
        observed_at=now,
    )


def _group_of(node: JsonObject, *, ready: bool) -> NodeGroup:
    labels = strings_at(node, "metadata", "labels")
    info = {name: str_at(node, "status", "nodeInfo", name) for name in ("kernelVersion", "osImage", "architecture")}
    return NodeGroup(
        count=1,
        ready=1 if ready else 0,
        os=labels.get("kubernetes.io/os") or str_at(node, "status", "nodeInfo", "operatingSystem", default="linux"),
        architecture=info["architecture"] or labels.get("kubernetes.io/arch", ""),
        kernel=info["kernelVersion"],
        os_image=info["osImage"],
        runtime=str_at(node, "status", "nodeInfo", "containerRuntimeVersion").partition("://")[0],
        zone=labels.get(_ZONE) or labels.get(_OLD_ZONE, ""),
        virtual=is_virtual(node),
        control_plane=any(label in labels for label in _CONTROL_PLANE),
        btf_label=labels.get("tapio.io/btf", ""),
        platform=platform_of(node),
        labels=dict(sorted(labels.items())),
        taints=sorted(
            f"{str_at(taint, 'key')}={str_at(taint, 'value')}:{str_at(taint, 'effect')}"
            for taint in objects_at(node, "spec", "taints")
            if not str_at(taint, "key").startswith(_OWN_TAINT_PREFIX)
        ),
    )


def _identity(group: NodeGroup) -> bytes:
    """Everything but the two counts."""
    return msgspec.json.encode(msgspec.structs.replace(group, count=0, ready=0), order="sorted")


def _together(one: NodeGroup, other: NodeGroup) -> NodeGroup:
    return msgspec.structs.replace(one, count=one.count + other.count, ready=one.ready + other.ready)


def _is_ready(node: JsonObject) -> bool:
    return any(
        str_at(one, "type") == "Ready" and str_at(one, "status") == "True"
        for one in objects_at(node, "status", "conditions")
    )


def _default_class(classes: Sequence[SeenClass]) -> str:
    """The class that Kubernetes would take: of several defaults the newest."""
    marked = [one for one in classes if one.is_default]
    newest = max(marked, key=lambda one: (one.created, one.name), default=None)
    return "" if newest is None else newest.name
