"""What Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs share: pods from templates, and who owns them."""

from __future__ import annotations

from collections.abc import Iterable

from tapio_shared.errors import ApiError, ApiTerminal
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Index, Informer, Informers
from tapio_simulator.machinery.objects import (
    Key,
    clone,
    controller_of,
    controller_uid,
    is_ready,
    is_terminating,
    key_of,
    owner_reference,
    phase_of,
    uid_of,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import NAMESPACES, PODS, SERVICE_ACCOUNTS, STATEFUL_SETS, Collection
from tapio_simulator.selectors import label_selector_matches


def build_pod(owner: JsonObject, collection: Collection, template: JsonObject, *, name: str = "") -> JsonObject:
    """A pod as a controller creates it from `template`; the API server finishes its name when none is given."""
    pod = clone(template)
    metadata = object_at(pod, "metadata")
    built: JsonObject = {
        "labels": object_at(metadata, "labels"),
        "annotations": object_at(metadata, "annotations"),
        "ownerReferences": [owner_reference(owner, collection.api_version, collection.kind)],
        "namespace": key_of(owner)[0],
    }
    if finalizers := metadata.get("finalizers"):
        built["finalizers"] = finalizers
    if name:
        built["name"] = name
    else:
        built["generateName"] = f"{key_of(owner)[1]}-"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": built, "spec": object_at(pod, "spec")}


def by_controller(document: JsonObject) -> list[str]:
    """Index key: the UID of the controlling owner."""
    uid = controller_uid(document)
    return [uid] if uid else []


def orphans_of(document: JsonObject) -> list[str]:
    """Index key of objects without a controller: their namespace."""
    return [] if controller_of(document) else [key_of(document)[0]]


class PodControl:
    """Creates, finds, adopts and deletes the pods of one kind of workload."""

    def __init__(self, informers: Informers, collection: Collection, events: EventRecorder, component: str) -> None:
        self._collection, self._events, self._component = collection, events, component
        self.pods: Informer = informers.of(PODS)
        self._owned: Index = self.pods.index(by_controller)
        self._orphans: Index = self.pods.index(orphans_of)
        self._refused: dict[str, dict[Key, None]] = {}
        """Workloads whose pods the API server refused, by namespace."""
        self._admission = (informers.of(SERVICE_ACCOUNTS), informers.of(NAMESPACES))

    def owned(self, owner: JsonObject) -> list[JsonObject]:
        """The pods that `owner` controls, by name."""
        return sorted(self._owned[uid_of(owner)], key=key_of)

    async def adopt(self, owner: JsonObject) -> None:
        """Take over pods that match the selector and have no controller (left behind by `--cascade=orphan`)."""
        selector = object_at(owner, "spec", "selector")
        for pod in self._orphans[key_of(owner)[0]]:
            labels = strings_at(pod, "metadata", "labels")
            if is_terminating(pod) or not selector or not label_selector_matches(selector, labels):
                continue
            await adopt(self.pods, pod, owner, self._collection)

    async def create(self, owner: JsonObject, pod: JsonObject) -> JsonObject | None:
        """Create a pod; None when one of that name is there already. A refusal is an Event, and raised again."""
        try:
            made = await self.pods.create(key_of(owner)[0], pod)
        except ApiError as err:
            if is_already_there(err):
                return None
            if isinstance(err, ApiTerminal):
                self._refused.setdefault(key_of(owner)[0], {})[key_of(owner)] = None
                text = self._refusal(owner, pod, err.message)
                self._events.warning(self._collection, owner, "FailedCreate", text, component=self._component)
            raise
        text = f"Created pod: {key_of(made)[1]}"
        self._events.normal(self._collection, owner, "SuccessfulCreate", text, component=self._component)
        return made

    def _refusal(self, owner: JsonObject, pod: JsonObject, why: str) -> str:
        """StatefulSets have words of their own for it."""
        if self._collection != STATEFUL_SETS:
            return f"Error creating: {why}"
        return f"Create Pod {key_of(pod)[1]} in StatefulSet {key_of(owner)[1]} failed error: {why}"

    async def delete(self, owner: JsonObject, pod: JsonObject) -> None:
        await self.pods.delete(pod)
        text = f"Deleted pod: {key_of(pod)[1]}"
        self._events.normal(self._collection, owner, "SuccessfulDelete", text, component=self._component)

    def wake(self, queue: WorkQueue[Key]) -> None:
        """Work on a workload again when one of its pods changes, or what its pods were refused for."""

        def changed(before: JsonObject | None, after: JsonObject | None) -> None:
            for pod in (before, after):
                if pod is None:
                    continue
                owner = controller_of(pod)
                if str_at(owner, "kind") == self._collection.kind and str_at(owner, "apiVersion") == (
                    self._collection.api_version
                ):
                    queue.add((key_of(pod)[0], str_at(owner, "name")))

        def admission_changed(_before: JsonObject | None, after: JsonObject | None) -> None:
            if after is not None and self._refused:
                namespace, name = key_of(after)
                for key in self._refused.pop(namespace or name, {}):
                    queue.add(key)

        self.pods.subscribe(changed)
        for informer in self._admission:
            informer.subscribe(admission_changed)


async def adopt(informer: Informer, document: JsonObject, owner: JsonObject, collection: Collection) -> None:
    """Make `owner` the controller of `document`."""
    references = [*objects_at(document, "metadata", "ownerReferences")]
    references.append(owner_reference(owner, collection.api_version, collection.kind))
    await informer.patch(document, {"metadata": {"ownerReferences": list(references)}})


def doomed_first(pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Pods in the order in which scaling down deletes them: unscheduled, pending, not ready, youngest."""

    def rank(pod: JsonObject) -> tuple[bool, bool, bool]:
        pending = phase_of(pod) == "Pending"
        return bool(str_at(pod, "spec", "nodeName")), not pending, is_ready(pod)

    youngest_first = sorted(
        pods, key=lambda pod: (str_at(pod, "metadata", "creationTimestamp"), key_of(pod)), reverse=True
    )
    return sorted(youngest_first, key=rank)
