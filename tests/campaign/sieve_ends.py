"""What a run left behind, read from the simulator's own store and write log, and made comparable with another run.

Shares no code with the operator. What differs from run to run for good reasons (identifiers, times, generated values
and digests of them, addresses) is replaced by what it stands for; what Kubernetes makes by itself of what the operator
made (pods, ReplicaSets, endpoints) is left out, since statuses count it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.writes import Write

OPERATOR = frozenset({"reconciler", "watcher"})
_OTHERS = frozenset(
    {
        "controllerrevisions.apps",
        "customresourcedefinitions.apiextensions.k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "events",
        "leases.coordination.k8s.io",
        "nodes",
        "pods",
        "replicasets.apps",
    }
)
_METADATA = frozenset({"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"})
_VARYING = frozenset({"caBundle", "clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort", "observedGeneration"})
_REVISION = "tapio.io/revision"
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_DIGEST = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8,64}(?![0-9A-Za-z])")
_HASH = re.compile(r"-[0-9a-z]{10}(?=\"|$)")
"""What controllers append to the names of ReplicaSets and revisions: a hash of the pod template, digests and all."""
Named = Mapping[str, JsonObject]


@dataclass(frozen=True, slots=True)
class End:
    """What is there, and what the operator deleted and made on the way."""

    objects: Named
    """resource namespace/name -> the object."""
    deleted: Counter[str]
    secrets: Counter[str]
    """Secrets and claims that were made, by name: a second one would be another password, another volume."""
    writes: int
    kept: Mapping[str, str]
    """Name of each Secret and claim -> its UID."""


def end_of(cluster: SimulatedCluster, *, since: int = 0) -> End:
    """The end of a run; of the writes, those after the first `since`."""
    documents = {
        f"{resource} {key[0]}/{key[1]}": stored.document
        for resource, table in cluster.api.store.tables()
        if resource not in _OTHERS
        for key, stored in table.objects.items()
    }
    uids = {
        str_at(stored.document, "metadata", "uid"): f"<uid of {resource} {key[1]}>"
        for resource, table in cluster.api.store.tables()
        for key, stored in table.objects.items()
    }
    objects = {
        _text(name, uids): comparable(document, uids)
        for name, document in sorted(documents.items())
        if not _is_a_cron_jobs(document)
    }
    effective = [one for one in cluster.writes.since(since) if one.user in OPERATOR and one.effective]
    return End(
        objects=objects,
        deleted=Counter(_name(one) for one in effective if one.verb == "delete"),
        secrets=Counter(_name(one) for one in effective if one.verb == "create" and one.resource == "secrets"),
        writes=sum(1 for one in effective if one.resource != "leases.coordination.k8s.io"),
        kept={
            name: str_at(document, "metadata", "uid")
            for name, document in documents.items()
            if name.startswith(("secrets ", "persistentvolumeclaims "))
        },
    )


def comparable(document: JsonObject, uids: Mapping[str, str]) -> JsonObject:
    """An object without what differs for good reasons."""
    kind = str_at(document, "kind")
    found: JsonObject = {}
    for name, value in document.items():
        if name == "metadata":
            found[name] = _metadata(object_at(document, name), uids)
        elif kind == "Secret" and name == "data" and isinstance(value, dict):
            found[name] = {key: bool(one) for key, one in value.items()}
        elif name == "status" and kind == "StatefulSet":
            status = object_at(document, name)
            is_rolled_out = status.get("currentRevision") == status.get("updateRevision")
            found[name] = {**as_object(_plain(status, uids)), "isRolledOut": is_rolled_out}
        elif not (kind == "CronJob" and name == "status"):
            found[name] = _plain(value, uids)
    return found


def _metadata(metadata: JsonObject, uids: Mapping[str, str]) -> JsonObject:
    found = {name: _plain(value, uids) for name, value in metadata.items() if name not in _METADATA}
    annotations = found.get("annotations")
    if isinstance(annotations, dict):
        annotations.pop(_REVISION, None)
    return found


def _plain(value: JsonValue, uids: Mapping[str, str]) -> JsonValue:
    match value:
        case str():
            return _HASH.sub("-<hash>", _text(value, uids))
        case dict():
            return {_text(name, uids): _plain(one, uids) for name, one in value.items() if name not in _VARYING}
        case list():
            return [_plain(one, uids) for one in value]
        case _:
            return value


def _text(text: str, uids: Mapping[str, str]) -> str:
    found = _UID.sub(lambda match: uids.get(match[0], "<uid>"), text)
    return _DIGEST.sub("<digest>", _TIME.sub("<time>", found))


def _is_a_cron_jobs(document: JsonObject) -> bool:
    return any(str_at(one, "kind") == "CronJob" for one in objects_at(document, "metadata", "ownerReferences"))


def _name(write: Write) -> str:
    return _DIGEST.sub("<digest>", f"{write.resource} {write.namespace}/{write.name}")


def differences(wanted: End, found: End) -> Iterator[str]:
    """How the objects of `found` differ from those of the undisturbed run."""
    yield from objects_that_differ(wanted.objects, found.objects)


def objects_that_differ(wanted: Named, found: Named) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is left behind"
        else:
            yield from (f"{name}: {one}" for one in _values(wanted[name], found[name], ""))


def _values(wanted: JsonValue, found: JsonValue, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted(wanted.keys() | found.keys()):
            yield from _values(wanted.get(name), found.get(name), f"{path}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _values(one, other, f"{path}[{number}]")
    elif wanted != found:
        yield f"{path.lstrip('.')} is {_short(found)} and not {_short(wanted)}"


def _short(value: JsonValue) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) < 200 else f"{text[:200]}…"


def more(found: Counter[str], wanted: Counter[str]) -> list[str]:
    """What happened more often than in the undisturbed run."""
    return [f"{name} ({count} more)" for name, count in sorted((found - wanted).items())]


def as_object(value: JsonValue) -> JsonObject:
    return cast("JsonObject", value)
