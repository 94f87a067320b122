"""A plan while it is being written.

The draft turns wanted objects into actions one by one; `finish` seals it into a `Plan`, whose decision is what the log
records and replay compares.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tapio_reconciler.core.changes import (
    NOTHING,
    REPEAT_UNOBSERVED,
    Act,
    Change,
    Memory,
    change_of,
    time_to_observe,
    waits,
    with_failure,
)
from tapio_reconciler.core.dropped import as_kept
from tapio_reconciler.core.made_secrets import flaw_of
from tapio_reconciler.core.model import MadeSecret, WantedObject
from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.premises import premises_of
from tapio_reconciler.core.references import lost_credentials
from tapio_reconciler.core.released import ORPHAN
from tapio_reconciler.core.rules import in_order, rules_of
from tapio_reconciler.core.scaling import keeping_replicas
from tapio_reconciler.core.state import Observed, Seen, Sight, State
from tapio_shared.api.kinds import WORKLOADS
from tapio_shared.api.labels import DESIRED_HASH, REVISION
from tapio_shared.codec import digest
from tapio_shared.facts import (
    AppliedWrite,
    ApplyAction,
    DecisionRecorded,
    DeleteAction,
    DeletedObject,
    EventIntent,
    FailedWrite,
    Inputs,
    ServedResource,
    Timer,
)
from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

_RENEW = "renew"
_BINDINGS = frozenset({"RoleBinding", "ClusterRoleBinding"})
_SCALERS = frozenset({"HorizontalPodAutoscaler", "VerticalPodAutoscaler"})
_PHASES = ((_SCALERS, 3), (WORKLOADS, 2), (_BINDINGS, 1))
"""What is written after the rest. The API server reads the role that a binding names, to refuse an escalation, and
answers 404 while there is none; so a binding follows its role."""


class Noted(msgspec.Struct):
    """What a plan keeps of objects about which nothing is to be done."""

    objects: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    pod_templates: dict[str, JsonObject] = msgspec.field(default_factory=dict[str, JsonObject])
    seen_by_name: dict[str, Seen] = msgspec.field(default_factory=dict[str, Seen])
    renew_at: int = 0
    """When the first of their certificates is due; 0 for never."""


class Draft(msgspec.Struct, kw_only=True):
    """A plan being written for one key."""

    state: State
    inputs: Inputs
    seen: Sight
    """What is asked of what is observed; in the part of a component it is noted."""
    observed: Observed = msgspec.field(default_factory=Observed)
    """All of it, for who looks through everything; a part has none of it."""
    memory: Memory
    cluster: Seen | None = None
    released: Mapping[str, str] | None = None
    """What was let go of to be made anew: StatefulSet -> its UID; None under rules by which that does not count."""
    former_uid: str = ""
    """UID of a TapioCluster that can't be read at the moment, for the Events about it."""
    forced: str = ""
    """The value of tapio.io/force-reconcile that has not been carried out yet."""
    apply: list[ApplyAction] = []
    delete: list[DeleteAction] = []
    events: list[EventIntent] = []
    waiting: list[str] = []
    objects: dict[str, str] = {}
    resources: dict[str, JsonObject] = {}
    wanted_resources: dict[str, str] = {}
    status: JsonObject | None = None
    wanted_status: str = ""
    finalizer: str = ""
    manifests: dict[str, JsonObject] = {}
    generated: dict[str, MadeSecret] = {}
    corrected: list[str] = []
    pod_templates: dict[str, JsonObject] = {}
    _due: dict[str, int] = {}
    _seen_by_name: dict[str, Seen] = {}

    @property
    def now(self) -> int:
        return self.inputs.now

    def want(self, one: WantedObject) -> Change:
        """What to do about one wanted object. Nothing is written before `write` is called with the answer."""
        self.objects[one.name] = one.digest
        if one.ref.kind in WORKLOADS:
            self.pod_templates[one.name] = object_at(one.manifest, "spec", "template")
        seen = self.seen.get(one.ref)
        if seen is not None:
            self._seen_by_name[one.name] = seen
        whole = rules_of(self.inputs.logic).compares_whole
        return change_of(one, seen, self.memory, now=self.now, forced=bool(self.forced), whole=whole)

    def write(self, one: WantedObject, change: Change, served: ServedResource, component: str) -> None:
        """Note what `change` asks for: an action, or a later look."""
        if change is NOTHING:
            return
        name = one.name
        if not change.writes:
            self.look_again("retry" if change.act is Act.BACK_OFF else "observe", change.due_at)
            return
        if change.correction:
            self.corrected.append(name)
        manifest = keeping_replicas(one, self.seen.get(one.ref))
        self.manifests[name] = annotated(manifest, one.digest, self.state.revision)
        self.apply.append(self._action(one.ref, served, component, change, mode=change.act.value))

    def generate(self, ref: ObjectRef, secret: MadeSecret, served: ServedResource, component: str) -> Change:
        """Have a Secret made, or made again where it lacks what it is for; else nothing is done about it."""
        name = str(ref)
        if name in self.generated:  # Two components share it.
            return self._made_again(name, self.objects[name], f"{name} is being made.")
        wanted = self.objects[name] = digest(secret.manifest)
        seen = self.seen.get(ref)
        if seen is not None:
            self._seen_by_name[name] = seen
        flaw = flaw_of(secret, ref, self.seen, self.now)
        self.look_again(_RENEW, flaw.look_at)
        if flaw.waits or not flaw.reason:
            return Change(act=Act.AWAIT if flaw.waits else Act.NOTHING, reason=flaw.reason)
        failure, write = self.memory.outcome.failures.get(name), self.memory.unobserved(name, seen)
        if failure is not None and failure.digest == wanted and waits(failure.failed_at, failure.retry_at, self.now):
            change = Change(act=Act.BACK_OFF, reason=failure.error, due_at=failure.retry_at, failure=failure)
        elif write is not None and waits(
            write.applied_at, due_at := write.applied_at + time_to_observe(write, REPEAT_UNOBSERVED), self.now
        ):
            change = Change(act=Act.AWAIT, reason=f"{name} was made and not observed yet.", due_at=due_at)
        elif lost := lost_credentials(secret, ref, self.seen):
            # While nobody has told of it, it may exist. Once it is told to be gone, a person must act.
            return Change(act=Act.AWAIT, reason=lost, unknown=seen is None, lost=seen is not None)
        else:
            change = self._made_again(name, wanted, flaw.reason)
            self.generated[name] = secret
            self.apply.append(self._action(ref, served, component, change, mode="generate"))
        self.look_again("retry", change.due_at)
        return change

    def _made_again(self, name: str, wanted: str, why: str) -> Change:
        change, rules = Change(act=Act.CREATE, reason=why), rules_of(self.inputs.logic)
        return with_failure(change, self.memory, name, wanted) if rules.keeps_failures_of_secrets else change

    def expand(self, claim: Seen, size: str, served: ServedResource, component: str) -> None:
        """Have a PersistentVolumeClaim ask for `size`, unless that was just done and not observed yet."""
        name = claim.name
        asked: JsonObject = {"resources": {"requests": {"storage": size}}}
        self.objects[name] = digest(asked)
        self._seen_by_name[name] = claim
        write = self.memory.unobserved(name, claim)
        if write is not None and write.digest == self.objects[name] and self._is_awaited(write):
            return
        metadata: JsonObject = {"name": claim.ref.name, "namespace": claim.ref.namespace, "uid": claim.uid}
        self.manifests[name] = {"apiVersion": "v1", "kind": claim.ref.kind, "metadata": metadata, "spec": asked}
        reason = f"{name} asks for less than the {size} that are wanted."
        self.apply.append(
            self._action(claim.ref, served, component, Change(act=Act.APPLY, reason=reason), mode="expand")
        )

    def keep_waiting(self, claim: Seen) -> None:
        """Remember that a claim may not grow, and look again when it is time to ask once more."""
        name = claim.name
        failure = self.memory.outcome.failures.get(name)
        if failure is not None:
            self.objects[name] = failure.digest
            self.look_again("retry", failure.retry_at)

    def release(self, ref: ObjectRef, seen: Seen, served: ServedResource, why: str) -> FailedWrite | None:
        """Delete an observed workload and leave its pods; answers the failure that this waits after, if any."""
        self.remove(ref, seen, served, why, propagation=ORPHAN)
        failure = self.memory.outcome.failures.get(str(ref))
        return None if failure is None or failure.action != "delete" else failure

    def remove(
        self, ref: ObjectRef, seen: Seen, served: ServedResource, reason: str, *, propagation: str = "Background"
    ) -> None:
        """Delete an observed object, unless that is already under way or has just been refused."""
        name = str(ref)
        if seen.document is None or str_at(seen.document, "metadata", "deletionTimestamp"):
            return
        failure = self.memory.outcome.failures.get(name)
        if failure is not None and failure.action == "delete" and waits(failure.failed_at, failure.retry_at, self.now):
            self.look_again("retry", failure.retry_at)
            return
        self._seen_by_name[name] = seen
        gone = self.memory.is_deleted(name, seen)
        if gone is not None and self._is_awaited(gone):
            return
        self.delete.append(
            DeleteAction(
                group=served.group,
                version=served.version,
                kind=served.kind,
                plural=served.plural,
                namespace=ref.namespace,
                name=ref.name,
                uid=seen.uid,
                resource_version=seen.resource_version,
                reason=reason,
                propagation=propagation,
            )
        )

    def set_status(self, status: JsonObject) -> None:
        """Have the TapioCluster's status written when it differs from what was observed or just written."""
        if self.cluster is None:
            return
        self._seen_by_name["status"] = self.cluster
        kept = self._as_kept("status", status)
        self.wanted_status = digest(kept)
        if self._differs("status", self.cluster, kept, self.wanted_status, is_reduced=kept is not status):
            self.status = status

    def set_resource_status(self, ref: ObjectRef, seen: Seen, status: JsonObject) -> None:
        """The same for a TapioCollector or TapioIntelligence."""
        name = f"{ref.kind}/{ref.name}"
        self._seen_by_name[name] = seen
        kept = self._as_kept(name, status)
        self.wanted_resources[name] = digest(kept)
        if self._differs(name, seen, kept, self.wanted_resources[name], is_reduced=kept is not status):
            self.resources[name] = status

    def set_finalizer(self, action: str) -> FailedWrite | None:
        """`add` or `remove` the finalizer, unless that awaits observation; answers the failure it waits after."""
        if self.cluster is None:
            return None
        self._seen_by_name["finalizer"] = self.cluster
        failure = self.memory.outcome.failures.get("finalizer")
        if failure is not None and failure.digest == action and waits(failure.failed_at, failure.retry_at, self.now):
            self.look_again("retry", failure.retry_at)
            return failure
        write = self.memory.unobserved("finalizer", self.cluster)
        if write is None or write.digest != action or not self._is_awaited(write):
            self.finalizer = action
        return None

    def look_again(self, name: str, due_at: int) -> None:
        """Plan again at `due_at`; of several instants the earliest counts. 0 asks for nothing."""
        if due_at:
            self._due[name] = min(due_at, self._due.get(name, due_at))

    def part(self, seen: Sight) -> Draft:
        """An empty draft for one component, which asks `seen`."""
        return Draft(
            state=self.state,
            inputs=self.inputs,
            seen=seen,
            memory=self.memory,
            cluster=self.cluster,
            released=self.released,
            forced=self.forced,
            generated=self.generated,
        )

    def take(self, part: Draft) -> None:
        """Take in what was drafted for one component."""
        self.apply += part.apply
        self.delete += part.delete
        self.corrected += part.corrected
        self.objects |= part.objects
        self.manifests |= part.manifests
        self.pod_templates |= part.pod_templates
        self._seen_by_name |= part._seen_by_name
        for name, due_at in part._due.items():
            self.look_again(name, due_at)

    def noted(self) -> Noted | None:
        """What this holds, if nothing is to be done by it but to renew in time; else None."""
        if self.apply or self.delete or self._due.keys() - {_RENEW}:
            return None
        return Noted(self.objects, self.pod_templates, self._seen_by_name, self._due.get(_RENEW, 0))

    def note(self, noted: Noted) -> None:
        """Take that in again."""
        self.objects |= noted.objects
        self.pod_templates |= noted.pod_templates
        self._seen_by_name |= noted.seen_by_name
        self.look_again(_RENEW, noted.renew_at)

    def finish(self) -> Plan:
        """Seal the plan."""
        decision = DecisionRecorded(
            revision=self.state.revision,
            cluster_uid=self.former_uid if self.cluster is None else self.cluster.uid,
            generation=_generation(self.cluster),
            inputs=self.inputs,
            digest="",
            desired_digest=digest(
                [self.objects, self.wanted_status, self.wanted_resources, self.waiting, self.finalizer]
            ),
            apply=sorted(self.apply, key=lambda one: (one.phase, one.kind, one.namespace, one.name)),
            delete=in_order(self.delete, rules_of(self.inputs.logic)),
            status=self.status,
            finalizer=self.finalizer,
            events=self.events,
            timers=[Timer(name=name, due_at=due) for name, due in sorted(self._due.items())],
            waiting=self.waiting,
            objects=self.objects,
            force_reconcile=self.forced,
            resources=self.resources,
        )
        return Plan(
            decision=msgspec.structs.replace(decision, digest=digest(decision)),
            cluster=self.cluster,
            manifests=self.manifests,
            generated=self.generated,
            corrected=tuple(self.corrected),
            memory=self.memory,
            seen_by_name=self._seen_by_name,
            pod_templates=self.pod_templates,
            premises=premises_of(self.observed, self.state.key) if self.delete else (),
            released=self.released,
        )

    def _as_kept(self, name: str, status: JsonObject) -> JsonObject:
        """`status` itself, or what the API server keeps of it, by the last write of it that is not long ago."""
        if self.forced or not rules_of(self.inputs.logic).settles_statuses:
            return status
        kept, until = as_kept(status, self.memory.outcome.dropped.get(name), self.now)
        self.look_again("observe", until)
        return kept

    def _differs(self, name: str, seen: Seen, status: JsonObject, wanted: str, *, is_reduced: bool) -> bool:
        """Whether it is to be written. What is dropped holds instants: any write of what `is_reduced` is the same."""
        if object_at(seen.document, "status") == status:
            return False
        failure = self.memory.outcome.failures.get(name)
        is_same = failure is not None and (is_reduced or failure.digest == wanted)
        if failure is not None and is_same and waits(failure.failed_at, failure.retry_at, self.now):
            self.look_again("retry", failure.retry_at)
            return False
        write = self.memory.unobserved(name, seen)
        if write is None or (write.digest != wanted and not write.repeats and not is_reduced):
            return True
        return not self._is_awaited(write)

    def _is_awaited(self, write: AppliedWrite | DeletedObject) -> bool:
        """Whether what was written may still come back as a fact; the plan then looks again after that."""
        since = write.applied_at if isinstance(write, AppliedWrite) else write.deleted_at
        until = since + time_to_observe(write)
        if not waits(since, until, self.now):
            return False
        self.look_again("observe", until)
        return True

    def _action(
        self, ref: ObjectRef, served: ServedResource, component: str, change: Change, *, mode: str
    ) -> ApplyAction:
        return ApplyAction(
            group=ref.group,
            version=served.version,
            kind=ref.kind,
            plural=served.plural,
            namespace=ref.namespace,
            name=ref.name,
            component=component,
            phase=next((phase for kinds, phase in _PHASES if ref.kind in kinds), 0),
            mode=mode,
            digest=self.objects[str(ref)],
            reason=change.reason,
        )


def annotated(manifest: JsonObject, wanted: str, revision: int) -> JsonObject:
    """`manifest` with the annotations that let a later plan, and a person, tell what it came from."""
    metadata = object_at(manifest, "metadata")
    annotations: JsonObject = {
        **strings_at(metadata, "annotations"),
        DESIRED_HASH: wanted,
        REVISION: str(revision),
    }
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _generation(cluster: Seen | None) -> int:
    generation = None if cluster is None else object_at(cluster.document, "metadata").get("generation")
    return generation if isinstance(generation, int) else 0
