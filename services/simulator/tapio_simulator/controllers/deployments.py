"""Deployments: a ReplicaSet per pod template, and the way from one to the next."""

from __future__ import annotations

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, int_at, object_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.controllers.replicas import adopt, by_controller, orphans_of
from tapio_simulator.controllers.rollouts import (
    HASH,
    REVISION,
    limits_of,
    progress_of,
    revision_of,
    scales,
    surplus,
    wanted,
)
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    clone,
    controller_of,
    is_terminating,
    key_of,
    merge_patch,
    owner_reference,
    short_hash,
    uid_of,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from tapio_simulator.selectors import label_selector_matches
from tapio_simulator.stamps import timestamp

COMPONENT = "deployment-controller"
_DESIRED, _MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
_NOT_INHERITED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION, _DESIRED, _MOST)


def build_replica_set(deployment: JsonObject, number: int) -> JsonObject:
    """The ReplicaSet of the Deployment's current template, empty at first, as revision `number`."""
    template = clone(object_at(deployment, "spec", "template"))
    mark = short_hash(template)
    labels: JsonObject = {**strings_at(template, "metadata", "labels"), HASH: mark}
    metadata = object_at(template, "metadata")
    template["metadata"] = {**metadata, "labels": labels}
    selector = clone(object_at(deployment, "spec", "selector"))
    selector["matchLabels"] = {**object_at(selector, "matchLabels"), HASH: mark}
    spec: JsonObject = {"replicas": 0, "selector": selector, "template": template}
    if seconds := int_at(deployment, "spec", "minReadySeconds"):
        spec["minReadySeconds"] = seconds
    namespace, name = key_of(deployment)
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name}-{mark}",
            "namespace": namespace,
            "labels": dict(labels),
            "annotations": {**_inherited(deployment), **_notes(deployment, number)},
            "ownerReferences": [owner_reference(deployment, DEPLOYMENTS.api_version, DEPLOYMENTS.kind)],
        },
        "spec": spec,
    }


def _inherited(deployment: JsonObject) -> JsonObject:
    annotations = strings_at(deployment, "metadata", "annotations")
    return {name: value for name, value in annotations.items() if name not in _NOT_INHERITED}


def _notes(deployment: JsonObject, number: int) -> JsonObject:
    most = wanted(deployment) + limits_of(deployment).surge
    return {REVISION: str(number), _DESIRED: str(wanted(deployment)), _MOST: str(most)}


class Deployments:
    """The Deployment controller."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder) -> None:
        self._clock, self._events = clock, events
        self._deployments, self._sets = informers.of(DEPLOYMENTS), informers.of(REPLICA_SETS)
        self._owned = self._sets.index(by_controller)
        self._orphans = self._sets.index(orphans_of)
        self._pods = informers.of(PODS).index(by_controller)
        self.queue: WorkQueue[Key] = WorkQueue("deployments")
        self._deployments.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        self._sets.subscribe(self._set_changed)
        informers.of(PODS).subscribe(self._pod_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _set_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        for document in (before, after):
            owner = {} if document is None else controller_of(document)
            if document is not None and str_at(owner, "kind") == "Deployment":
                self.queue.add((key_of(document)[0], str_at(owner, "name")))

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        """Recreate waits until the last old pod is really gone."""
        if after is None and before is not None:
            owner = controller_of(before)
            found = self._sets.get(key_of(before)[0], str_at(owner, "name"))
            if found is not None and str_at(owner, "kind") == "ReplicaSet":
                self._set_changed(None, found)

    # --- one deployment --------------------------------------------------------------------------------------------

    async def _sync(self, key: Key) -> None:
        deployment = self._deployments.get(*key)
        if deployment is None:
            return
        if is_terminating(deployment):
            await self._report(deployment, *self._split(deployment), created=False)
            return
        await self._adopt(deployment)
        new, old = self._split(deployment)
        created = False
        if new is None and deployment["spec"] and not object_at(deployment, "spec").get("paused"):
            new, created = await self._new_set(deployment, old), True
        elif new is not None:
            new = await self._renew(deployment, new, old)
        if new is not None and not self._waits_for_recreation(deployment, old):
            new = await self._scale(deployment, new, old)
        await self._report(deployment, *self._split(deployment), created=created)
        for one in surplus(deployment, old):
            await self._sets.delete(one)

    def _split(self, deployment: JsonObject) -> tuple[JsonObject | None, list[JsonObject]]:
        """The ReplicaSet of the current template, and the others."""
        mark = short_hash(object_at(deployment, "spec", "template"))
        sets = sorted(self._owned[uid_of(deployment)], key=key_of)
        new = [one for one in sets if strings_at(one, "metadata", "labels").get(HASH) == mark]
        return (new[0] if new else None), [one for one in sets if one not in new]

    async def _adopt(self, deployment: JsonObject) -> None:
        selector = object_at(deployment, "spec", "selector")
        for one in self._orphans[key_of(deployment)[0]]:
            if selector and label_selector_matches(selector, strings_at(one, "metadata", "labels")):
                await adopt(self._sets, one, deployment, DEPLOYMENTS)

    async def _new_set(self, deployment: JsonObject, old: list[JsonObject]) -> JsonObject | None:
        number = max((revision_of(one) for one in old), default=0) + 1
        try:
            made = await self._sets.create(key_of(deployment)[0], build_replica_set(deployment, number))
        except ApiError as err:
            if is_already_there(err):
                return None
            raise
        await self._show_revision(deployment, number)
        return made

    async def _renew(self, deployment: JsonObject, new: JsonObject, old: list[JsonObject]) -> JsonObject | None:
        """An older ReplicaSet that is current again (undo) gets the next revision."""
        latest = max((revision_of(one) for one in old), default=0)
        number = revision_of(new) if revision_of(new) > latest else latest + 1
        notes = {**_inherited(deployment), **_notes(deployment, number)}
        known = strings_at(new, "metadata", "annotations")
        changed: JsonObject = {name: value for name, value in notes.items() if known.get(name) != value}
        patch: JsonObject = {"metadata": {"annotations": changed}} if changed else {}
        seconds = int_at(deployment, "spec", "minReadySeconds")
        if int_at(new, "spec", "minReadySeconds") != seconds:
            patch["spec"] = {"minReadySeconds": seconds}
        kept: JsonObject | None = new
        if patch:
            kept = await self._sets.patch(new, patch)
        await self._show_revision(deployment, number)
        return kept

    async def _show_revision(self, deployment: JsonObject, number: int) -> None:
        if strings_at(deployment, "metadata", "annotations").get(REVISION) != str(number):
            await self._deployments.patch(deployment, {"metadata": {"annotations": {REVISION: str(number)}}})

    def _waits_for_recreation(self, deployment: JsonObject, old: list[JsonObject]) -> bool:
        if str_at(deployment, "spec", "strategy", "type") != "Recreate":
            return False
        return all(wanted(one) == 0 for one in old) and any(self._pods.count(uid_of(one)) for one in old)

    async def _scale(self, deployment: JsonObject, new: JsonObject, old: list[JsonObject]) -> JsonObject | None:
        changes = scales(deployment, new, old)
        result: JsonObject | None = new
        for one in (new, *old):
            replicas = changes.get(uid_of(one))
            if replicas is None:
                continue
            patched = await self._sets.patch(one, {"spec": {"replicas": replicas}})
            word = "up" if replicas > wanted(one) else "down"
            text = f"Scaled {word} replica set {key_of(one)[1]} from {wanted(one)} to {replicas}"
            self._events.normal(DEPLOYMENTS, deployment, "ScalingReplicaSet", text, component=COMPONENT)
            if one is new:
                result = patched
        return result

    async def _report(
        self, deployment: JsonObject, new: JsonObject | None, old: list[JsonObject], *, created: bool
    ) -> None:
        now = self._clock.now()
        known = self._deployments.get(*key_of(deployment)) or deployment
        progress = progress_of(known, new, old, created=created, now=now, stamp=timestamp(now))
        # What was looked at is the generation at the start: a later change has not been seen yet.
        progress.status["observedGeneration"] = int_at(deployment, "metadata", "generation")
        patch = merge_patch(object_at(known, "status"), progress.status)
        if patch:
            await self._deployments.patch(known, {"status": patch}, subresource="status")
        if progress.deadline_in is not None:
            self.queue.add_after(key_of(deployment), progress.deadline_in + 1.0)
