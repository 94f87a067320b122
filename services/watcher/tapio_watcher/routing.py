"""Which ordering key an object belongs to. Pure and total: an object that is nobody's has no key."""

from __future__ import annotations

from tapio_shared.api.labels import key_of_made
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey


def group_of(document: JsonObject) -> str:
    """API group of an object; empty for the core group."""
    return str_at(document, "apiVersion").rpartition("/")[0]


def ref_of(document: JsonObject) -> ObjectRef:
    """The name of an object in the log."""
    return ObjectRef(
        group_of(document),
        str_at(document, "kind"),
        str_at(document, "metadata", "namespace"),
        str_at(document, "metadata", "name"),
    )


def key_of(target: str, document: JsonObject) -> OrderingKey | None:
    """The key of a custom resource, or of what was made for one; None when it is nobody's."""
    namespace, name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
    if group_of(document) == API_GROUP:
        kind = str_at(document, "kind")
        if kind == CLUSTER_KIND:
            return OrderingKey(target, namespace, name)
        if kind in {COLLECTOR_KIND, INTELLIGENCE_KIND}:
            cluster = str_at(document, "spec", "clusterRef", "name")
            return OrderingKey(target, namespace, cluster) if cluster else None
        return None
    found = key_of_made(document)
    return None if found is None else OrderingKey(target, *found)
