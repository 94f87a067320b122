"""What Events say about pods that the API server did not accept, reduced to one sentence per workload.

Deployments have the condition ReplicaFailure for it; of StatefulSets, DaemonSets and Jobs there is only an Event. An
Event tells of a moment, is counted up again and again and expires: nothing here takes one for the present. Pure.

Source: pkg/controller/statefulset/stateful_pod_control.go, pkg/controller/controller_utils.go of Kubernetes; the words
were read from the binaries of 1.20.2 and 1.36.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef

REFUSAL_GROUP, REFUSAL_KIND = "tapio.io", "Refusal"
SELECTOR: Final = {"fieldSelector": "reason=FailedCreate,type=Warning,involvedObject.kind!=ReplicaSet"}
"""Field selectors know no "one of": ReplicaSets, which say most of it, are left out, the rest is judged here."""

WORKLOADS: Final = {"StatefulSet": "apps", "DaemonSet": "apps", "Job": "batch"}
"""Kinds that have no condition for it, and their API groups."""

_MAX_MESSAGE = 600
_COMBINED = re.compile(r"^\(combined from similar events\): ")
_PREAMBLE = re.compile(r"^(?:Error creating: |[Cc]reate Pod \S+ in StatefulSet \S+ failed error: )")
_OF_A_CLAIM = re.compile(r"^[Cc]reate Claim ")
"""The same is said of the pod that needs the claim: two Events that take turns would be two facts that do."""
_FORBIDDEN = re.compile(r'^pods "[^"]*" is forbidden: ')
_USED = re.compile(r", used: \S+(?=, limited: )")
"""How much of a quota others use moves all the time; what is asked for and what is allowed say enough."""
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes ends a generated name with five of these."""
_SECONDS = len("2026-01-01T00:00:00")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The newest word on why a workload's pods are refused."""

    event: tuple[str, str]
    """Namespace and name of the Event."""
    uid: str
    """UID of the workload: one of the same name made later has nothing to do with it."""
    at: str
    """When the API server last refused, to the second, UTC; compares as text."""
    message: str


def refused_workload(event: JsonObject) -> ObjectRef | None:
    """The StatefulSet, DaemonSet or Job that an Event is about; None for anything else."""
    kind, namespace = str_at(event, "involvedObject", "kind"), str_at(event, "involvedObject", "namespace")
    name = str_at(event, "involvedObject", "name")
    group = WORKLOADS.get(kind)
    if group is None or not name or str_at(event, "reason") != "FailedCreate":
        return None
    if _OF_A_CLAIM.match(str_at(event, "message")):
        return None
    return ObjectRef(group, kind, namespace, name)


def refusal_of(event: JsonObject) -> Refusal:
    """Reduce one Event."""
    return Refusal(
        event=(str_at(event, "metadata", "namespace"), str_at(event, "metadata", "name")),
        uid=str_at(event, "involvedObject", "uid"),
        at=_last_time(event),
        message=normal_message(str_at(event, "message"), str_at(event, "involvedObject", "name")),
    )


def _last_time(event: JsonObject) -> str:
    """When it last happened: in the series of the newer kind of Event, in lastTimestamp of the older."""
    found = (
        str_at(event, "series", "lastObservedTime")
        or str_at(event, "lastTimestamp")
        or str_at(event, "eventTime")
        or str_at(event, "metadata", "creationTimestamp")
    )
    return to_second(found)


def to_second(stamp: str) -> str:
    """A time stamp of the API server without its fraction, so that all of them compare as text."""
    return stamp[:_SECONDS]


def normal_message(message: str, workload: str) -> str:
    """The reason alone, the same for every pod and every attempt: names of single pods and usage are left out."""
    text = _PREAMBLE.sub("", _COMBINED.sub("", message))
    text = _USED.sub("", _FORBIDDEN.sub("", text))
    return re.sub(rf"\b{re.escape(workload)}-(?:[{_GENERATED}]{{5}}|\d+)(?![a-z0-9-])", f"{workload}-*", text)[
        :_MAX_MESSAGE
    ]


def refusal_ref(workload: ObjectRef) -> ObjectRef:
    """Under which name the refusal of a workload's pods stands in the log."""
    return ObjectRef(REFUSAL_GROUP, REFUSAL_KIND, workload.namespace, f"{workload.kind}-{workload.name}")


def refusal_document(refusal: Refusal) -> JsonObject:
    """What is published: nothing that moves while the reason stays the same, so no count and no time."""
    return {"kind": REFUSAL_KIND, "reason": "FailedCreate", "message": refusal.message}
