"""What the volumes of a cluster have, what its spec asks for, and what can be granted of it.

A volume grows where its StorageClass lets it, and never shrinks. What can't be granted is said, with the next step, and
everything is rendered by the size that there is: a server is not told of room that it does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import msgspec

from tapio_reconciler.core.changes import Memory, waits
from tapio_reconciler.core.model import Notice
from tapio_reconciler.core.state import Observed, Seen
from tapio_shared.api import names
from tapio_shared.api.effective import EffectiveCluster
from tapio_shared.api.labels import COMPONENT, EDITION
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, objects_at, str_at, strings_at

_ZERO = Decimal(0)
_RESIZING = "FileSystemResizePending"


class HeldClaim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One PersistentVolumeClaim as last observed."""

    name: str
    asks: str
    """spec.resources.requests.storage."""
    has: str = ""
    """status.capacity.storage; empty until it is bound."""
    storage_class: str = ""
    bound: bool = False
    resizing: bool = False
    """Whether the disk has grown and its file system has not."""
    edition: str = ""
    """Of Neo4j, that made what is on it: enterprise; empty for any other."""
    refusal: str = ""
    """Why the API server refused to let it grow, until that is tried again."""

    @property
    def amount(self) -> Decimal:
        return quantity_or_none(self.asks) or _ZERO


class HeldVolumes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The volumes of one component. `templates` are the sizes that its StatefulSets ask for in their templates."""

    templates: list[str] = []
    claims: list[HeldClaim] = []


def held_volumes(seen: Observed, namespace: str, memory: Memory, now: int) -> dict[str, HeldVolumes]:
    """What is known of the volumes of a cluster's components, by their label `app.kubernetes.io/component`."""
    templates: dict[str, list[str]] = {}
    claims: dict[str, list[HeldClaim]] = {}
    for one in (*seen.of_kind("StatefulSet"), *seen.of_kind("PersistentVolumeClaim")):
        ref = one.ref
        if one.document is None or ref.namespace != namespace:
            continue
        component = strings_at(one.document, "metadata", "labels").get(COMPONENT, "")
        if ref.kind == "StatefulSet":
            sizes = [claim_size(template) for template in claim_templates(one.document)]
            templates.setdefault(component, []).extend(sizes)
        elif not str_at(one.document, "metadata", "deletionTimestamp"):
            claims.setdefault(component, []).append(_held(one.document, refusal_of(one, memory, now)))
    return {
        component: HeldVolumes(templates=templates.get(component, []), claims=claims.get(component, []))
        for component in sorted(templates.keys() | claims.keys())
    }


def claim_templates(workload: JsonObject) -> tuple[JsonObject, ...]:
    """The templates from which a StatefulSet's claims are made."""
    return tuple(objects_at(workload, "spec", "volumeClaimTemplates"))


def claim_size(claim: JsonObject) -> str:
    """How much a claim, or a template of one, asks for."""
    return str_at(claim, "spec", "resources", "requests", "storage")


def refusal_of(claim: Seen, memory: Memory, now: int) -> str:
    """Why a claim was not allowed to grow, as long as that is not due to be tried again."""
    failure = memory.outcome.failures.get(claim.name)
    if failure is None or failure.action != "expand" or not waits(failure.failed_at, failure.retry_at, now):
        return ""
    return failure.error


def is_bound(claim: JsonObject) -> bool:
    """Whether a claim has its volume; the API server lets no other grow."""
    return str_at(claim, "status", "phase") == "Bound"


def _held(claim: JsonObject, refusal: str) -> HeldClaim:
    conditions = {str_at(one, "type"): str_at(one, "status") for one in objects_at(claim, "status", "conditions")}
    return HeldClaim(
        name=str_at(claim, "metadata", "name"),
        asks=claim_size(claim),
        has=str_at(claim, "status", "capacity", "storage"),
        storage_class=str_at(claim, "spec", "storageClassName"),
        bound=is_bound(claim),
        resizing=conditions.get(_RESIZING) == "True",
        edition=strings_at(claim, "metadata", "labels").get(EDITION, ""),
        refusal=refusal,
    )


def granted(
    effective: EffectiveCluster, held: Mapping[str, HeldVolumes], expandable: Sequence[str] | None
) -> tuple[EffectiveCluster, tuple[Notice, ...]]:
    """`effective` with the sizes that its volumes can have, and what is to be said about the others.

    `expandable`: the StorageClasses that let volumes grow; None when that was not told, and nothing grows yet.
    """
    notices: list[Notice] = []
    if not effective.uses_external_nats:
        size, said = _grant("spec.nats.storage", effective.nats_storage, held.get(names.NATS), expandable)
        notices += said
        effective = replace(effective, nats_storage=size)
    if not effective.has_graph:
        return effective, tuple(notices)
    graph = names.CORRELATION if effective.embedded else names.NEO4J
    field = "the embedded graph store's volume" if effective.embedded else "spec.intelligence.neo4j.storage"
    size, said = _grant(field, effective.graph_storage, held.get(graph), expandable)
    return replace(effective, graph_storage=size), (*notices, *said)


def _grant(
    field: str, asked: str, held: HeldVolumes | None, expandable: Sequence[str] | None
) -> tuple[str, list[Notice]]:
    """The size to render by: what is asked for, or what there is."""
    wanted = quantity_or_none(asked)
    if held is None or wanted is None:
        return asked, []
    there = max(held.templates, key=_amount, default="") or _kept(held.claims)
    if _amount(there) > wanted:
        return there, [_shrinks(field, asked, there)]
    short = [claim for claim in held.claims if claim.amount < wanted]
    stuck = [claim for claim in short if expandable is None or _obstacle(claim, expandable)]
    if stuck:
        size = min([*(one for one in held.templates if one), *(claim.asks for claim in stuck)], key=_amount)
        return size, [] if expandable is None else [_stuck(field, asked, stuck, expandable)]
    return asked, [*_growing(field, asked, short, held.claims)]


def _kept(claims: Sequence[HeldClaim]) -> str:
    """What all claims have that outlived their StatefulSet, which is made again by them."""
    return min((claim.asks for claim in claims), key=_amount, default="")


def _amount(size: str) -> Decimal:
    return quantity_or_none(size) or _ZERO


def _obstacle(claim: HeldClaim, expandable: Sequence[str]) -> str:
    """Why a claim can't grow, with what a person can do; empty when it can."""
    if not claim.bound:
        return f"PersistentVolumeClaim {claim.name} is not bound yet, and grows once it is."
    if claim.storage_class not in expandable:
        where = (
            f"StorageClass {claim.storage_class}" if claim.storage_class else "its volume, which has no StorageClass,"
        )
        return (
            f"{where} of PersistentVolumeClaim {claim.name} does not let volumes grow. If its storage system can, "
            f"allow it (kubectl patch storageclass {claim.storage_class or 'NAME'} -p "
            "'{\"allowVolumeExpansion\": true}'); else set the size back."
        )
    if claim.refusal:
        return (
            f"the API server does not let PersistentVolumeClaim {claim.name} grow: {claim.refusal.rstrip('.')}; it "
            "will be asked again."
        )
    return ""


def _stuck(field: str, asked: str, claims: Sequence[HeldClaim], expandable: Sequence[str]) -> Notice:
    first = claims[0]
    more = f" The same holds for {len(claims) - 1} more of its claims." if len(claims) > 1 else ""
    obstacle = _obstacle(first, expandable)
    message = f"{_upper(field)} asks for {asked} and the volume stays at {first.asks}: {obstacle}{more}"
    return Notice(reason=Reason.VOLUME_NOT_GROWN, message=message)


def _growing(field: str, asked: str, short: Sequence[HeldClaim], claims: Sequence[HeldClaim]) -> Iterator[Notice]:
    """What is under way, which nobody has to do anything about, or hardly."""
    if short:
        first = short[0]
        message = f"{_upper(field)} asks for {asked}: PersistentVolumeClaim {first.name} grows from {first.asks}."
        yield Notice(reason=Reason.VOLUME_NOT_GROWN, message=message)
        return
    for claim in claims:
        if claim.has and _amount(claim.has) < claim.amount:
            pod = claim.name.partition("-")[2]
            how = (
                f"Its file system grows next; if that needs a restart, kubectl delete pod {pod}."
                if claim.resizing
                else f"Its storage system is at it; see kubectl describe pvc {claim.name}."
            )
            message = f"PersistentVolumeClaim {claim.name} has {claim.has} of the {claim.asks} that it asks for. {how}"
            yield Notice(reason=Reason.VOLUME_NOT_GROWN, message=message)
            return


def _shrinks(field: str, asked: str, there: str) -> Notice:
    return Notice(
        condition="Stalled",
        reason=Reason.STORAGE_SHRINK_REFUSED,
        message=(
            f"{_upper(field)} asks for {asked}, and the volume has {there}: a volume can grow but not shrink, so it is "
            f"left as it is. Set {field} to at least {there}."
        ),
    )


def _upper(text: str) -> str:
    return text if text.startswith("spec.") else text[0].upper() + text[1:]
