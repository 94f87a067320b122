"""Taking a deleted TapioCluster apart: every managed object goes, data and credentials by `deletionPolicy`.

Objects in other namespaces and cluster-scoped ones can't have an owner reference, so the garbage collector never finds
them; the finalizer stays until the log holds the tombstone of every one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapio_reconciler.core.changes import LONGEST_UNOBSERVED, is_controlled_by_cluster, is_managed, waits
from tapio_reconciler.core.drafting import Draft
from tapio_reconciler.core.made_secrets import is_copy
from tapio_reconciler.core.model import Served
from tapio_reconciler.core.state import Seen
from tapio_shared.json import objects_at, str_at
from tapio_shared.keys import ObjectRef, ref_of_text

_RESOURCES = frozenset({"TapioCluster", "TapioCollector", "TapioIntelligence", "Pods"})
_DATA = frozenset({"PersistentVolumeClaim", "Secret"})


def tear_down(draft: Draft, cluster: Seen | None, served: Served) -> list[ObjectRef]:
    """Note the deletion of everything that goes; answers what is still there of it.

    Without `cluster` (it is gone already) data and credentials stay: nobody can say any more what was wanted.
    """
    key = draft.state.key
    delete_data = cluster is not None and str_at(cluster.document, "spec", "deletionPolicy") == "Delete"
    left: list[ObjectRef] = []
    for ref, seen in draft.observed.items():
        if seen.document is None or ref.kind in _RESOURCES:
            continue
        if not is_managed(seen.document, cluster=key.name, namespace=key.namespace):
            continue
        if ref.kind in _DATA and not is_copy(seen.document):
            if not delete_data:
                continue
        elif not is_controlled_by_cluster(seen.document, cluster=key.name, namespace=key.namespace):
            continue
        resource = served.find(ref.group, ref.kind)
        if resource is None:
            continue
        left.append(ref)
        draft.remove(ref, seen, resource, f"TapioCluster {key.namespace}/{key.name} is being deleted.")
    for _, pod in _ownerless_pods(draft):
        resource = served.find("", "Pod")
        if resource is not None:
            left.append(pod.ref)
            draft.remove(pod.ref, pod, resource, f"TapioCluster {key.namespace}/{key.name} is being deleted.")
    return left


def written_unseen(draft: Draft) -> list[ObjectRef]:
    """What was written not long ago and nobody has told of yet, where no garbage collector finds it: once its
    TapioCluster is gone, a log that is lost takes all with it that says whose it was. The plan looks again after that.
    """
    found: list[ObjectRef] = []
    for name, write in sorted(draft.memory.outcome.applied.items()):
        ref, until = ref_of_text(name), write.applied_at + LONGEST_UNOBSERVED
        if ref is None or ref.namespace == draft.state.key.namespace or not waits(write.applied_at, until, draft.now):
            continue
        seen = draft.seen.get(ref)
        is_known = seen is not None and seen.document is not None
        if not is_known and draft.memory.unobserved(name, seen) is not None:
            draft.objects[name] = write.digest  # so that the outcome goes on to tell of it
            draft.look_again("observe", until)
            found.append(ref)
    return found


def delete_left_behind(draft: Draft, served: Served) -> None:
    """Note the deletion of pods whose StatefulSet was let go of to be made anew, and is not wanted any more since."""
    key, resource = draft.state.key, served.find("", "Pod")
    if resource is None:
        return
    for workload, pod in _ownerless_pods(draft):
        known = draft.seen.get(workload)
        if str(workload) in draft.objects or (known is not None and known.document is not None):
            continue  # It takes the pod over, or is deleted itself first.
        reason = f"{pod.ref} is of {workload}, which is no longer part of TapioCluster {key.namespace}/{key.name}."
        draft.remove(pod.ref, pod, resource, reason)


def _ownerless_pods(draft: Draft) -> Iterator[tuple[ObjectRef, Seen]]:
    """Pods without a controller, each with the StatefulSet that was let go of: nothing else would ever delete them."""
    for summary in draft.observed.of_kind("Pods"):
        ref = summary.ref
        kind, _, name = ref.name.partition("-")
        for entry in objects_at(summary.document, "ownerless"):
            pod = ObjectRef("", "Pod", ref.namespace, str_at(entry, "name"))
            yield (
                ObjectRef("apps", kind, ref.namespace, name),
                Seen(pod, summary.sequence, entry, str_at(entry, "uid"), ""),
            )


def is_torn_down(left: Sequence[ObjectRef]) -> bool:
    """Whether nothing that must go is left."""
    return not left
