"""A StatefulSet whose immutable fields have to change is made anew without touching its pods.

First every claim that is too small is made to grow, then the StatefulSet is deleted so that its pods stay and have no
owner, then it is created again and takes them over. Each step follows from what is observed, none from what was done
before it, so the operator may end between any two of them. Nothing here deletes a pod.

Source: the StatefulSet controller adopts pods and revisions that match its selector and have no controller
(k8s.io/kubernetes/pkg/controller/statefulset); their names and templates being the same, it restarts none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tapio_reconciler.core.changes import Act, Change
from tapio_reconciler.core.drafting import Draft
from tapio_reconciler.core.model import Served, WantedObject
from tapio_reconciler.core.released import is_released
from tapio_reconciler.core.rules import rules_of
from tapio_reconciler.core.state import Seen, Sight
from tapio_reconciler.core.volumes import claim_size, claim_templates, is_bound, refusal_of
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, at, int_at, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

_PARALLEL, _ORDERED = "Parallel", "OrderedReady"


@dataclass(frozen=True, slots=True)
class Difference:
    """One immutable field that differs. `is_safe`: whether a StatefulSet made anew can take over the pods there are."""

    field: str
    is_safe: bool


def with_kept_sizes(one: WantedObject, seen: Seen | None) -> WantedObject:
    """`one` with the sizes of the volumes that are larger already than is wanted of them."""
    observed = None if seen is None else seen.document
    if observed is None:
        return one
    there = {str_at(template, "metadata", "name"): claim_size(template) for template in claim_templates(observed)}
    smaller = [
        str_at(template, "metadata", "name")
        for template in claim_templates(one.manifest)
        if _is_less(claim_size(template), there.get(str_at(template, "metadata", "name"), ""))
    ]
    if not smaller:
        return one
    manifest = copy.deepcopy(one.manifest)
    for template in claim_templates(manifest):
        name = str_at(template, "metadata", "name")
        if name in smaller:
            object_at(template, "spec", "resources", "requests")["storage"] = there[name]
    return replace(one, manifest=manifest, digest=digest(manifest))


def _is_less(size: str, other: str) -> bool:
    amount, than = quantity_or_none(size), quantity_or_none(other)
    return amount is not None and than is not None and amount < than


def differences(wanted: JsonObject, observed: JsonObject) -> Iterator[Difference]:
    """Fields of a StatefulSet that the API server never changes, and that are not as wanted."""
    spec, there = object_at(wanted, "spec"), object_at(observed, "spec")
    if spec.get("serviceName") != there.get("serviceName"):
        yield Difference("serviceName", is_safe=False)  # The pods' DNS names are made of it, once.
    if str_at(spec, "podManagementPolicy", default=_ORDERED) != str_at(there, "podManagementPolicy", default=_ORDERED):
        yield Difference("podManagementPolicy", is_safe=True)
    if spec.get("selector") != there.get("selector"):
        selector, labels = (
            strings_at(spec, "selector", "matchLabels"),
            strings_at(there, "template", "metadata", "labels"),
        )
        matches = bool(selector) and all(labels.get(name) == value for name, value in selector.items())
        yield Difference("selector", is_safe=matches)
    wanted_templates, templates = claim_templates(wanted), claim_templates(observed)
    if [_name(one) for one in wanted_templates] != [_name(one) for one in templates]:
        yield Difference("volumeClaimTemplates", is_safe=False)
        return
    for template, known in zip(wanted_templates, templates, strict=True):
        if any(at(template, "spec", name) != at(known, "spec", name) for name in ("accessModes", "storageClassName")):
            yield Difference("volumeClaimTemplates", is_safe=False)
        elif quantity_or_none(claim_size(template)) != quantity_or_none(claim_size(known)) or strings_at(
            template, "metadata", "labels"
        ) != strings_at(known, "metadata", "labels"):
            yield Difference("volumeClaimTemplates", is_safe=True)


def _name(template: JsonObject) -> str:
    return str_at(template, "metadata", "name")


def goes_ahead(workload: ObjectRef, draft: Draft) -> bool:
    """Whether a workload that is gone is made again without waiting for what it depends on: its pods still run.

    Under rules 5 that takes that the operator let go of them. Others end, with a former TapioCluster of that name: who
    does not wait then is made before its Secrets are known, and rolled out once more when they are.
    """
    known = draft.seen.get(workload)
    if known is None or known.document is not None:
        return False
    if rules_of(draft.inputs.logic).goes_ahead_when_released:
        return is_released(workload, draft.seen, draft.released or {})
    pods = draft.seen.get(ObjectRef("tapio.io", "Pods", workload.namespace, f"{workload.kind}-{workload.name}"))
    return pods is not None and pods.document is not None and int_at(pods.document, "total") > 0


def plan_volumes(draft: Draft, one: WantedObject, change: Change, served: Served, component: str) -> Change:
    """Have the claims of a wanted StatefulSet grow and, when its immutable fields need it, let go of its pods.

    Answers what is to be done about the StatefulSet itself: `change`, or to wait until it is gone.
    """
    growing = _grow_claims(draft, one, served, component)
    seen = draft.seen.get(one.ref)
    observed = None if seen is None else seen.document
    if seen is None or observed is None or change.act not in {Act.APPLY, Act.BACK_OFF}:
        return change
    if str_at(observed, "metadata", "deletionTimestamp"):
        return change
    found = list(differences(one.manifest, observed))
    if not found or not all(difference.is_safe for difference in found):
        return change  # The API server's own words tell which field can't change: ImmutableField.
    if growing:
        return Change(act=Act.AWAIT, reason=f"{one.name} is made anew once {growing} grows.")
    fields = ", ".join(sorted({difference.field for difference in found}))
    resource = served.find(one.ref.group, one.ref.kind, one.version)
    if resource is None:
        return change
    reason = f"{one.name} is made anew, since {fields} can't be changed; its pods stay and are taken over."
    failure = draft.release(one.ref, seen, resource, reason)
    if failure is not None:
        return Change(act=Act.BACK_OFF, reason=failure.error, due_at=failure.retry_at, failure=failure)
    return Change(act=Act.AWAIT, reason=reason)


def remember_refusals(draft: Draft) -> None:
    """Look again when claims that may not grow are due to ask once more, whoever asks then."""
    for one in draft.seen.of_kind("PersistentVolumeClaim"):
        if refusal_of(one, draft.memory, draft.now):
            draft.keep_waiting(one)


def _grow_claims(draft: Draft, one: WantedObject, served: Served, component: str) -> str:
    """Ask for more storage for each claim that is too small; names the first of them."""
    resource = served.find("", "PersistentVolumeClaim")
    if resource is None:
        return ""
    small = list(_small_claims(one, draft.seen))
    for claim, size in small:
        draft.expand(claim, size, resource, component)
    return str(small[0][0].ref) if small else ""


def _small_claims(one: WantedObject, seen: Sight) -> Iterator[tuple[Seen, str]]:
    """The bound claims of a StatefulSet that ask for less than its templates do, with what they should ask for."""
    for template in claim_templates(one.manifest):
        size = claim_size(template)
        for ordinal in range(int_at(one.manifest, "spec", "replicas", default=1)):
            name = f"{_name(template)}-{one.ref.name}-{ordinal}"
            claim = seen.get(ObjectRef("", "PersistentVolumeClaim", one.ref.namespace, name))
            if claim is None or claim.document is None or not is_bound(claim.document):
                continue
            if str_at(claim.document, "metadata", "deletionTimestamp"):
                continue
            if _is_less(claim_size(claim.document), size):
                yield claim, size
