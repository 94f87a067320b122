"""What an update may not change: fields that are fixed after creation, and volumes that would have to shrink.

Compares two specs in normal form. A size that only one of them gives is the planner's to judge, which knows the
volume; so is everything that moved between a TapioCluster and a resource of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND, NODE_NAMESPACE
from tapio_shared.api.problems import Path, Problem, path_text, problem, value_text
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, JsonValue, at, object_at

_IMMUTABLE: Final[dict[str, tuple[tuple[tuple[str, ...], str | None], ...]]] = {
    CLUSTER_KIND: ((("nodeAgents", "namespace"), NODE_NAMESPACE), (("nats", "storageClassName"), None)),
    COLLECTOR_KIND: ((("clusterRef", "name"), None), (("type",), None)),
    INTELLIGENCE_KIND: ((("clusterRef", "name"), None),),
}
"""Fields with what their absence means."""

_NEO4J: Final = {CLUSTER_KIND: ("intelligence", "neo4j"), INTELLIGENCE_KIND: ("neo4j",)}
_EXPOSURE: Final = ("gateway", "exposure")
_BACKUP_SIZE: Final = ("backup", "destination", "pvc", "size")


def change_problems(kind: str, spec: JsonObject, old: JsonObject) -> Iterator[Problem]:
    """What the update of a resource of `kind` from spec `old` to `spec` must not change."""
    for path, default in _IMMUTABLE.get(kind, ()):
        yield from _immutable(path, at(spec, *path) or default, at(old, *path) or default)
    neo4j = _NEO4J.get(kind)
    if neo4j is not None:
        if isinstance(at(spec, *neo4j), dict) and isinstance(at(old, *neo4j), dict):
            path = (*neo4j, "storageClassName")
            yield from _immutable(path, at(spec, *path), at(old, *path))
        for path in ((*neo4j, "storage"), (*neo4j, *_BACKUP_SIZE)):
            yield from _growing(path, at(spec, *path), at(old, *path))
    if kind == CLUSTER_KIND:
        yield from _growing(("nats", "storage"), at(spec, "nats", "storage"), at(old, "nats", "storage"))
        yield from _load_balancer(object_at(spec, *_EXPOSURE), object_at(old, *_EXPOSURE))


def _load_balancer(exposure: JsonObject, old: JsonObject) -> Iterator[Problem]:
    """The class of a Service stays as long as that is a load balancer: the API server has it so."""
    if exposure.get("type") == "LoadBalancer" == old.get("type"):
        until = "while exposure.type stays LoadBalancer (make it ClusterIP first)"
        yield from _immutable((*_EXPOSURE, "className"), exposure.get("className"), old.get("className"), until)


def _immutable(path: Path, value: JsonValue, old: JsonValue, until: str = "after creation") -> Iterator[Problem]:
    if value == old:
        return
    where = path_text(("spec", *path))
    before, now = (value_text(path, one) if one is not None else "absent" for one in (old, value))
    message = f"{where} is {now} and was {before}; it can't be changed {until}."
    yield Problem(where, value, message, Reason.IMMUTABLE_FIELD)


def _growing(path: Path, value: JsonValue, old: JsonValue) -> Iterator[Problem]:
    size, previous = quantity_or_none(value), quantity_or_none(old)
    if size is not None and previous is not None and size < previous:
        allowed = f"at least {old}, since a volume can grow but not shrink"
        yield problem(("spec", *path), value, allowed, Reason.STORAGE_SHRINK_REFUSED)
