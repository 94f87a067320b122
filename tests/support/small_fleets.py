"""Small fleets that a test writes down node by node, and what is rendered on them."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tapio_reconciler.core.model import Rendered, Served
from tapio_reconciler.core.rendering import render
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject, JsonValue
from tests.support.planned_world import FLEET
from tests.support.rendered import context_of

CONTROL_PLANE = "node-role.kubernetes.io/control-plane=:NoSchedule"
DEDICATED = "dedicated=tapio:NoSchedule"


def group(zone: str, count: int = 1, *, ready: int | None = None, **more: JsonValue) -> NodeGroup:
    document = {"count": count, "ready": count if ready is None else ready, "architecture": "amd64", "zone": zone}
    return msgspec.convert({**document, "kernel": "6.1.0", **more}, NodeGroup)


def on(groups: list[NodeGroup], spec: JsonObject | None = None, *, version: str = "v1.31.0") -> Rendered:
    document: JsonObject = {"metadata": {"name": "any", "namespace": "some"}, "spec": spec or {}}
    context = context_of(document)
    # What counts Ready nodes at this moment must decide nothing.
    fleet = msgspec.structs.replace(FLEET, groups=groups, hosts=0, zones=[])
    return render(replace(context, fleet=fleet, served=Served(context.served.all(), version)))


def patched(**pod: JsonValue) -> JsonObject:
    return {"podTemplate": {"spec": pod}}


POOLS = [group("a", labels={"pool": "x"}), group("b", labels={"pool": "y"}), group("c", labels={"pool": "y"})]
"""Two pools: one node, and two."""
