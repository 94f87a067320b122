"""Taking a deleted TapioCluster apart: every managed object goes, data and credentials by `deletionPolicy`.

Objects in other namespaces and cluster-scoped ones can't have an owner reference, so the garbage collector never finds
them; the finalizer stays until the log holds the tombstone of every one.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.changes import is_controlled_by_cluster, is_managed
from tapio_reconciler.core.drafting import Draft
from tapio_reconciler.core.model import Served
from tapio_reconciler.core.state import Seen
from tapio_shared.json import str_at
from tapio_shared.keys import ObjectRef

_RESOURCES = frozenset({"TapioCluster", "TapioCollector", "TapioIntelligence", "Pods"})
_DATA = frozenset({"PersistentVolumeClaim", "Secret"})


def tear_down(draft: Draft, cluster: Seen | None, served: Served) -> list[ObjectRef]:
    """Note the deletion of everything that goes; answers what is still there of it.

    Without `cluster` (it is gone already) data and credentials stay: nobody can say any more what was wanted.
    """
    key = draft.state.key
    delete_data = cluster is not None and str_at(cluster.document, "spec", "deletionPolicy") == "Delete"
    left: list[ObjectRef] = []
    for ref, seen in draft.seen.items():
        if seen.document is None or ref.kind in _RESOURCES:
            continue
        if not is_managed(seen.document, cluster=key.name, namespace=key.namespace):
            continue
        if ref.kind in _DATA:
            if not delete_data:
                continue
        elif not is_controlled_by_cluster(seen.document, namespace=key.namespace):
            continue
        resource = served.find(ref.group, ref.kind)
        if resource is None:
            continue
        left.append(ref)
        draft.remove(ref, seen, resource, f"TapioCluster {key.namespace}/{key.name} is being deleted.")
    return left


def is_torn_down(left: Sequence[ObjectRef]) -> bool:
    """Whether nothing that must go is left."""
    return not left
