"""The rows of odd_specs.yaml, which says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject
from tests.support.planned_world import FLEET


class OddSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One TapioCluster, and where it is rendered for."""

    spec: JsonObject
    name: str = "odd"
    namespace: str = "some"
    kubernetes: str = "1.31"
    served: tuple[str, ...] = ()
    """API groups besides those of Kubernetes."""
    since: int = 0
    fleet: list[NodeGroup] | None = None

    @property
    def document(self) -> JsonObject:
        metadata: JsonObject = {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": "tapio.io/v1alpha1", "kind": "TapioCluster", "metadata": metadata, "spec": self.spec}

    @property
    def nodes(self) -> FleetObserved:
        """The fleet that the watcher would tell of."""
        if self.fleet is None:
            return FLEET
        zones = sorted({group.zone for group in self.fleet if group.zone})
        hosts = sum(group.count for group in self.fleet)
        return msgspec.structs.replace(FLEET, groups=self.fleet, hosts=hosts, zones=zones, dropped_labels=[])


ODD: Final = msgspec.yaml.decode(Path(__file__).with_suffix(".yaml").read_bytes(), type=dict[str, OddSpec])
