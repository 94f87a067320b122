"""CustomResourceDefinitions, made from the models: nobody writes them by hand.

Two flavours: with CEL rules for Kubernetes 1.25 and newer, without for older servers, whose kubectl refuses a CRD
that holds any. Pure; writing the files is `__main__`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tapio_shared.api.base import ApiModel
from tapio_shared.api.labels import APPLYSET_IS_PARENT_TYPE, PART_OF, PART_OF_TAPIO
from tapio_shared.api.markers import OPAQUE, RULES, SHORTHAND
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.scalars import OPAQUE_SCHEMA
from tapio_shared.api.schema import model_schema
from tapio_shared.api.specs import spec_schema
from tapio_shared.api.status import TapioClusterStatus, TapioCollectorStatus, TapioIntelligenceStatus
from tapio_shared.api.validation import MAX_NAME
from tapio_shared.json import JsonObject, JsonValue

VERSION: Final = "v1alpha1"

_KEY_ORDER: Final = {key: place for place, key in enumerate(("description", "type", "default", "enum", "required"))}
"""What a person wants to read first; the rest follows as the models have it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones are shown with `-o wide` alone."""

    name: str
    type: str
    path: str
    description: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What a CRD says besides its schema."""

    kind: str
    short_name: str
    description: str
    status: type[ApiModel]
    columns: tuple[Column, ...]
    is_applyset_parent: bool = False

    @property
    def plural(self) -> str:
        return "tapiointelligences" if self.kind == INTELLIGENCE_KIND else f"{self.kind.lower()}s"


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_READY: Final = Column("Ready", "string", _condition("Ready", "status"), "Whether everything runs.")
_PHASE: Final = Column("Phase", "string", ".status.phase", "State in one word.")
_AGE: Final = Column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")
_CLUSTER: Final = Column("Cluster", "string", ".spec.clusterRef.name", "The TapioCluster this belongs to.")

KINDS: Final = (
    Kind(
        CLUSTER_KIND,
        "tpc",
        "One Tapio: its collectors, message backbone, graph store, correlation and gateway.",
        TapioClusterStatus,
        (
            Column("Profile", "string", ".spec.profile", "Set of defaults."),
            Column("Version", "string", ".status.version", "Version that runs, or is being rolled out."),
            _READY,
            _PHASE,
            Column("Components", "string", ".status.readyComponents", "Ready components of all."),
            Column("Message", "string", _condition("Ready", "message"), "Why it is so.", wide=True),
            _AGE,
        ),
        is_applyset_parent=True,
    ),
    Kind(
        COLLECTOR_KIND,
        "tpcol",
        "One collector of a TapioCluster, configured on its own and possibly for some nodes only.",
        TapioCollectorStatus,
        (
            _CLUSTER,
            Column("Type", "string", ".spec.type", "What is collected."),
            Column("Desired", "integer", ".status.desired", "Pods that were asked for."),
            Column("Ready", "integer", ".status.ready", "Pods that are ready."),
            _PHASE,
            _AGE,
        ),
    ),
    Kind(
        INTELLIGENCE_KIND,
        "tpint",
        "Graph store and correlation of a TapioCluster, configured on their own.",
        TapioIntelligenceStatus,
        (_CLUSTER, Column("Store", "string", ".status.store", "Graph store that is used."), _READY, _PHASE, _AGE),
    ),
)


def build_crds(*, cel: bool) -> tuple[JsonObject, ...]:
    """All CustomResourceDefinitions; `cel` False leaves out what Kubernetes before 1.25 refuses."""
    return tuple(build_crd(kind, cel=cel) for kind in KINDS)


def build_crd(kind: Kind, *, cel: bool) -> JsonObject:
    """The CustomResourceDefinition of one kind."""
    labels: JsonObject = {PART_OF: PART_OF_TAPIO}
    if kind.is_applyset_parent:
        labels[APPLYSET_IS_PARENT_TYPE] = "true"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{API_GROUP}", "labels": labels},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": [PART_OF_TAPIO],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root_schema(kind, cel=cel)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                }
            ],
        },
    }


def _root_schema(kind: Kind, *, cel: bool) -> JsonObject:
    spec = structural(spec_schema(kind.kind), cel=cel, defaults=True)
    status = structural(model_schema(kind.status), cel=cel, defaults=False)
    return {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {API_GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Always {kind.kind}."},
            # The API server allows nothing here but restrictions of the name, not even a description.
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {
                        "type": "string",
                        "maxLength": MAX_NAME,
                        "description": f"Name of the resource: at most {MAX_NAME} characters, to fit into labels.",
                    }
                },
            },
            "spec": spec,
            "status": status,
        },
    }


def structural(schema: JsonObject, *, cel: bool, defaults: bool) -> JsonObject:
    """`schema` as a structural schema of Kubernetes: our marks acted upon and taken out."""
    if OPAQUE in schema:
        return {"description": schema.get("description")} | OPAQUE_SCHEMA
    result: JsonObject = {}
    for key, value in sorted(schema.items(), key=lambda member: _KEY_ORDER.get(member[0], len(_KEY_ORDER))):
        if key == SHORTHAND or (key == RULES and not cel) or (key == "default" and not defaults):
            continue
        if key == "properties" and isinstance(value, dict):
            result[key] = {name: _child(child, cel=cel, defaults=defaults) for name, child in value.items()}
        elif key in {"items", "additionalProperties"}:
            result[key] = _child(value, cel=cel, defaults=defaults)
        else:
            result[key] = value
    if SHORTHAND in schema:
        # Without a type, true and false pass as well as objects; see reference/control-plane.md.
        del result["type"]
        result["x-kubernetes-preserve-unknown-fields"] = True
    return result


def _child(schema: JsonValue, *, cel: bool, defaults: bool) -> JsonValue:
    return structural(schema, cel=cel, defaults=defaults) if isinstance(schema, dict) else schema


def _column(column: Column) -> JsonObject:
    result: JsonObject = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    if column.wide:
        result["priority"] = 1
    return result
