"""StatefulSets: numbered pods with claims of their own."""

from __future__ import annotations

from tapio_shared.errors import ApiError, ApiTerminal
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.ports import Clock
from tapio_simulator.controllers.ordinals import (
    Create,
    Delete,
    Step,
    build_claims,
    claim_name,
    finish_pod,
    ordinal_of,
    report_of,
    revision_of,
    steps,
)
from tapio_simulator.controllers.replicas import PodControl, build_pod
from tapio_simulator.controllers.revisions import Revisions
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import Key, is_terminating, key_of, merge_patch, owner_reference
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import CLAIMS, PODS, STATEFUL_SETS

COMPONENT = "statefulset-controller"


class StatefulSets:
    """The StatefulSet controller."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder) -> None:
        self._clock, self._events = clock, events
        self._sets, self._claims = informers.of(STATEFUL_SETS), informers.of(CLAIMS)
        self._control = PodControl(informers, STATEFUL_SETS, events, COMPONENT)
        self._revisions = Revisions(informers, STATEFUL_SETS)
        self.queue: WorkQueue[Key] = WorkQueue("statefulsets")
        self._sets.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        self._control.wake(self.queue)
        informers.of(PODS).subscribe(self._name_freed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _name_freed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        """A pod of another owner may have held a name that a StatefulSet needs."""
        if before is not None and after is None:
            parent = key_of(before)[1].rpartition("-")[0]
            if parent and self._sets.get(key_of(before)[0], parent) is not None:
                self.queue.add((key_of(before)[0], parent))

    async def _sync(self, key: Key) -> None:
        found = self._sets.get(*key)
        if found is None:
            return
        update = self._revisions.name_of(found)
        current = str_at(found, "status", "currentRevision") or update
        if not self._revisions.exists(found, current):
            current = update
        failure: ApiError | None = None
        if not is_terminating(found):
            update = await self._revisions.ensure(found)
            await self._control.adopt(found)
            try:
                for step in steps(found, self._pods(found), current, update):
                    await self._take(found, step)
            except ApiTerminal as err:
                failure = err
        await self._report(key, found, current, update)
        if failure is not None:
            raise failure

    def _pods(self, found: JsonObject) -> list[JsonObject]:
        return [pod for pod in self._control.owned(found) if ordinal_of(pod, found) is not None]

    async def _take(self, found: JsonObject, step: Step) -> None:
        match step:
            case Delete(pod):
                await self._control.delete(found, pod)
                await self._drop_claims(found, pod)
            case Create(ordinal, revision):
                await self._create_claims(found, ordinal)
                template = self._revisions.template_of(found, revision)
                pod = build_pod(found, STATEFUL_SETS, template, name=f"{key_of(found)[1]}-{ordinal}")
                await self._control.create(found, finish_pod(pod, found, ordinal, revision))

    async def _create_claims(self, found: JsonObject, ordinal: int) -> None:
        deletes = str_at(found, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete"
        for claim in build_claims(found, ordinal):
            if self._claims.get(*key_of(claim)) is not None:
                continue
            if deletes:
                reference = owner_reference(found, STATEFUL_SETS.api_version, STATEFUL_SETS.kind)
                object_at(claim, "metadata")["ownerReferences"] = [reference]
            try:
                await self._claims.create(key_of(claim)[0], claim)
            except ApiError as err:
                if is_already_there(err):
                    continue
                if isinstance(err, ApiTerminal):
                    self._claim_refused(found, ordinal, key_of(claim)[1], err.message)
                raise

    def _claim_refused(self, found: JsonObject, ordinal: int, claim: str, why: str) -> None:
        """Said twice: of the claim, and of the pod that needs it."""
        name = key_of(found)[1]
        where = f"Pod {name}-{ordinal} in StatefulSet {name} failed error:"
        for text in (f"Create Claim {claim} for {where} {why}", f"Create {where} failed to create PVC {claim}: {why}"):
            self._events.warning(STATEFUL_SETS, found, "FailedCreate", text, component=COMPONENT)

    async def _drop_claims(self, found: JsonObject, pod: JsonObject) -> None:
        """persistentVolumeClaimRetentionPolicy.whenScaled: Delete. The claim's own protection waits for the pod."""
        ordinal = ordinal_of(pod, found)
        policy = str_at(found, "spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
        replicas = object_at(found, "spec").get("replicas", 1)
        if policy != "Delete" or ordinal is None or not isinstance(replicas, int) or ordinal < replicas:
            return
        for template in objects_at(found, "spec", "volumeClaimTemplates"):
            claim = self._claims.get(key_of(found)[0], claim_name(found, template, ordinal))
            if claim is not None:
                await self._claims.delete(claim)

    async def _report(self, key: Key, found: JsonObject, current: str, update: str) -> None:
        known = self._sets.get(*key)
        if known is None:
            return
        pods = self._pods(found)
        report = report_of(found, pods, current, update, self._clock.now())
        patch = merge_patch(object_at(known, "status"), report.status)
        if patch:
            await self._sets.patch(known, {"status": patch}, subresource="status")
        if report.next_in is not None:
            self.queue.add_after(key, report.next_in)
        live = {current, update, *(revision_of(pod) for pod in pods)}
        if not is_terminating(found):
            await self._revisions.truncate(found, live)
