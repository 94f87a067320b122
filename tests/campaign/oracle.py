"""What must hold at the end of every schedule. Shares no code with the operator: it reads the simulator's objects and
its log of writes, and the bytes of the event log as plain JSON, and compares.

Replaying decisions is the one law that the operator's own planner is needed for.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tapio_reconciler.core.replaying import Replayer, Verdict
from tapio_shared.ports import Message
from tests.campaign.people import Owner
from tests.campaign.world import RECONCILER, Asked, World

Document = dict[str, Any]
"""JSON as it comes: the oracle trusts no model of it."""
Name = tuple[str, str, str]
"""Kind, namespace and name of an object; a Job's without the digest of credentials in it."""
_OWN = frozenset({"TapioCluster"})
_KEPT = frozenset({"Secret", "PersistentVolumeClaim"})
_FOLDED = frozenset({"Pod", "Pods", "ReplicaSet"})
_HASH = "tapio.io/desired-hash"
_COMPARED = ("spec", "data", "rules", "roleRef", "subjects")
_DIGEST = re.compile(r"-[0-9a-f]{8}$")


@dataclass(frozen=True, slots=True)
class Truth:
    """What a run without any trouble makes of one TapioCluster."""

    objects: dict[Name, Document]


def named(document: Document) -> Name:
    metadata = document["metadata"]
    name = metadata["name"]
    if document["kind"] == "Job":
        name = _DIGEST.sub("", name)
    return document["kind"], metadata.get("namespace", ""), name


def of_cluster(documents: Iterable[Document], name: str) -> dict[Name, Document]:
    """What the operator made for the TapioCluster `name`."""
    return {
        named(one): one
        for one in documents
        if one["kind"] not in _FOLDED and _HASH in (one["metadata"].get("annotations") or {}) and _belongs(one, name)
    }


def _belongs(document: Document, name: str) -> bool:
    owners = [one["name"] for one in document["metadata"].get("ownerReferences") or () if one["kind"] == "TapioCluster"]
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    return name in owners if owners else labels.get("app.kubernetes.io/instance") == name


def content(document: Document) -> Document:
    """What was asked for of an object, without what differs from run to run."""
    kept = {field: document[field] for field in _COMPARED if field in document}
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    return cast("Document", _plain({**kept, "labels": labels}))


_VOLATILE = frozenset(
    {
        "tapio.io/config-hash",
        "tapio.io/revision",
        "tapio.io/renew-at",
        "clusterIP",
        "clusterIPs",
        "job-name",
        "batch.kubernetes.io/job-name",
    }
)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("Document", value)
        return {key: _plain(inner) for key, inner in fields.items() if key not in _VOLATILE and "uid" not in key}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType] - JSON
    return value


def documents_of(world: World, target: str) -> list[Document]:
    """Every object of a Kubernetes cluster."""
    return cast("list[Document]", world.documents(target))


# --- at the end ------------------------------------------------------------------------------------------------


def unconverged(world: World, truths: dict[Owner, Truth | None]) -> list[str]:
    """What is not yet as it shall be. All of it may only be late, until too much time has passed."""
    found: list[str] = []
    for owner, truth in truths.items():
        target, name = owner
        documents = documents_of(world, target)
        clusters = [one for one in documents if one["kind"] == "TapioCluster" and one["metadata"]["name"] == name]
        there = of_cluster(documents, name)
        if truth is None:
            found += [f"{owner}: TapioCluster still there" for _ in clusters]
            found += [f"{owner}: {one} remains" for one in sorted(there) if one[0] not in _KEPT]
            continue
        found += [f"{owner}: TapioCluster is missing"] if not clusters else _not_ready(owner, clusters[0])
        found += _differences(owner, truth.objects, there)
    return found


def _not_ready(owner: Owner, cluster: Document) -> list[str]:
    generation = cluster["metadata"]["generation"]
    for one in cluster.get("status", {}).get("conditions", ()):
        if one["type"] == "Ready" and one["status"] == "True" and one.get("observedGeneration") == generation:
            return []
    return [f"{owner}: not Ready at generation {generation}: {cluster.get('status', {}).get('conditions')}"]


def _differences(owner: Owner, wanted: dict[Name, Document], there: dict[Name, Document]) -> Iterator[str]:
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"{owner}: {name} is missing"
        elif name not in wanted:
            if name[0] not in _KEPT:
                yield f"{owner}: {name} is one too many"
        elif name[0] not in _KEPT and content(wanted[name]) != content(there[name]):
            difference = _first_difference(content(wanted[name]), content(there[name]))
            yield f"{owner}: {name} is not what the newest fact asks for: {difference}"


def _first_difference(wanted: Any, there: Any, path: str = "") -> str:
    if isinstance(wanted, dict) and isinstance(there, dict):
        before, after = cast("Document", wanted), cast("Document", there)
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                return _first_difference(before.get(key), after.get(key), f"{path}.{key}")
    return f"{path}: wanted {wanted!r:.200}, there is {there!r:.200}"


def untold(world: World) -> list[str]:
    """Live objects that the log's last facts do not tell of, and last facts of objects that do not live."""
    last: dict[tuple[str, str, str, str], Document] = {}
    for subject, message in world.log.last_messages().items():
        tokens = [_unescaped(token) for token in subject.split(".")]
        if len(tokens) == 11 and tokens[6] == "object":
            fact = json.loads(message.data)
            name = (tokens[3], tokens[8], tokens[9], tokens[10])
            if fact["type"] == "ObjectObserved" or name not in last:
                last[name] = fact
    live = {
        (target, one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
        for target in world.clusters
        for one in documents_of(world, target)
        if one["kind"] not in _FOLDED and (one["kind"] in _OWN or _is_selected(one))
    }
    found: list[str] = []
    for name, document in live.items():
        fact = last.get(name)
        if fact is None or fact["type"] != "ObjectObserved":
            found.append(f"the log does not tell of {name}")
        elif fact["uid"] != document["metadata"]["uid"]:
            found.append(f"the log tells of a former {name}")
        elif name[1] != "Secret" and _telling(fact["object"]) != _telling(document):
            found.append(f"the log tells something older of {name}")
    # Referred objects of others (Secrets, autoscalers) are told of too, so only what the operator would select counts.
    for name, fact in last.items():
        is_ours = name[1] in _OWN or (fact["type"] == "ObjectObserved" and _is_selected(fact["object"]))
        if fact["type"] == "ObjectObserved" and is_ours and name[1] not in _FOLDED and name not in live:
            found.append(f"the log tells of {name}, which is gone")
    return found


def _is_selected(document: Document) -> bool:
    labels: dict[str, str] = document.get("metadata", {}).get("labels") or {}
    is_made = _HASH in (document.get("metadata", {}).get("annotations") or {})
    return is_made and labels.get("app.kubernetes.io/managed-by") == "tapio-operator" and "tapio.io/cluster" in labels


def _telling(document: Document) -> Document:
    # A fact may leave out what the API server writes all the time; what people and the operator decide it must hold.
    found: Document = {field: document[field] for field in ("data", "rules", "roleRef") if field in document}
    if document["kind"] == "TapioCluster":
        found["spec"] = document["spec"]
    return {**found, "labels": document["metadata"].get("labels"), "name": document["metadata"]["name"]}


def _unescaped(token: str) -> str:
    if token == "_":
        return ""
    return re.sub("=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), token)


# --- of all that happened --------------------------------------------------------------------------------------


def violations(world: World, always: dict[Owner, set[Name]]) -> list[str]:
    """What must never have happened. `always`: what every spec that a TapioCluster ever had wants."""
    return [
        *unrecorded(world),
        *wrong_deletions(world, always),
        *made_twice(world),
        *disorder(world),
        *divergences(world),
    ]


def unrecorded(world: World) -> list[str]:
    """Writes that no decision names that had been recorded before."""
    named_by: list[tuple[int, set[str]]] = []
    for count, message in enumerate(_all_messages(world), start=1):
        if message.subject.endswith(".decision"):
            named_by.append((count, _names_of(json.loads(message.data), _target_of(message))))
    known: set[str] = set()
    following, found = iter(named_by), list[str]()
    current = next(following, None)
    for asked in world.asked:
        while current is not None and current[0] <= asked.stored:
            known |= current[1]
            current = next(following, None)
        sign = _sign(asked)
        if sign and sign not in known:
            found.append(f"not recorded before: {asked.method} {asked.target} {asked.path}")
    return found


def _all_messages(world: World) -> Iterator[Message]:
    """Every message ever stored, in order; what a life began with was stored before."""
    before: list[Message] = []
    for life in world.log.lives:
        begun = 0
        while begun < len(life) and begun < len(before) and life[begun] is before[begun]:
            begun += 1
        yield from life[begun:]
        before = life


def _target_of(message: Message) -> str:
    return _unescaped(message.subject.split(".")[3])


def _names_of(decision: Document, target: str) -> set[str]:
    """What a decision allows: `target verb kind namespace/name detail`."""
    found: set[str] = set()
    for action in decision.get("apply", ()):
        place = f"{target} {action['plural']} {action.get('namespace', '')}/{action['name']}"
        mode = action.get("mode", "apply")
        found.add(f"{place} generate" if mode == "generate" else f"{place} apply {action.get('digest', '')}")
    for action in decision.get("delete", ()):
        found.add(f"{target} {action['plural']} {action.get('namespace', '')}/{action['name']} delete {action['uid']}")
    if decision.get("status") is not None:
        found.add(f"{target} status {decision.get('cluster_uid', '')}")
    if decision.get("finalizer"):
        found.add(f"{target} finalizer {decision.get('cluster_uid', '')}")
    return found


_PATH = re.compile(r"^/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([^/]+)(?:/([^/]+))?(?:/status)?$")


def _sign(asked: Asked) -> str:
    """What a decision must have named for this write; empty for Events, which are best effort."""
    match = _PATH.match(asked.path)
    if match is None or match[2] in ("events", "leases"):
        return ""
    metadata = asked.document.get("metadata")
    body: Document = metadata if isinstance(metadata, dict) else {}
    place = f"{asked.target} {match[2]} {match[1] or ''}/{match[3] or body.get('name')}"
    if match[2] == "tapioclusters":
        return f"{asked.target} {'status' if asked.path.endswith('/status') else 'finalizer'} {body.get('uid', '')}"
    if asked.method == "DELETE":
        preconditions = asked.document.get("preconditions")
        uid = preconditions.get("uid", "") if isinstance(preconditions, dict) else ""
        return f"{place} delete {uid}"
    if asked.method == "POST":
        return f"{place} generate"
    return f"{place} apply {body.get('annotations', {}).get(_HASH, '')}"


def wrong_deletions(world: World, always: dict[Owner, set[Name]]) -> list[str]:
    """Deletions by the operator of what every spec of a TapioCluster asked for that nobody deleted or replaced."""
    wanted = {
        (target, kind, namespace, name)
        for (target, _), names in always.items()
        for kind, namespace, name in names
        if kind != "Job"
    }
    found: list[str] = []
    for target, cluster in world.clusters.items():
        kinds = {served.resource.group_resource: served.resource.kind for served in cluster.api.registry}
        for write in cluster.writes:
            if write.verb != "delete" or write.user != RECONCILER.name or not write.effective:
                continue
            name = (target, kinds.get(write.resource, ""), write.namespace, write.name)
            if name in wanted:
                found.append(f"deleted, though it was wanted all the time: {name}")
    return found


def made_twice(world: World) -> list[str]:
    """Generated Secrets that were made again while they existed: the second one replaces credentials in use."""
    found: list[str] = []
    for target, cluster in world.clusters.items():
        made: dict[str, int] = {}
        for write in cluster.writes:
            if write.resource == "secrets" and write.user == RECONCILER.name and write.effective:
                if write.verb == "create":
                    made[write.name] = made.get(write.name, 0) + 1
                elif write.verb == "delete":
                    made[write.name] = 0
        found += [f"Secret {target} {name} was made {often} times" for name, often in made.items() if often > 1]
    return found


def disorder(world: World) -> list[str]:
    """Decisions that were recorded out of order, by a former owner, twice, too early, or from what was lost."""
    found: list[str] = []
    for life, began in zip(world.log.lives, world.log.began, strict=True):
        told = _Told(began)
        for message in life:
            found += told.next(message)
    return found


class _Told:
    """One life of the log, read from its beginning; for each message the first one that the log held by then."""

    def __init__(self, began: Mapping[int, int]) -> None:
        self._began = began
        self._epochs: dict[str, int] = {}
        self._holders: dict[int, str] = {}
        self._synced: set[tuple[str, str]] = set()
        self._decided: dict[str, tuple[int, bytes]] = {}
        self._baseless: set[int] = set()
        self._checksums: dict[int, int] = {}
        self._is_swept = False

    def next(self, message: Message) -> Iterator[str]:
        """What is wrong with the next message."""
        tokens = message.subject.split(".")
        self._checksums[message.sequence] = zlib.crc32(message.subject.encode() + message.data)
        if tokens[1] == "epoch":
            self._epochs[tokens[2]] = message.sequence
            self._holders[message.sequence] = json.loads(message.data)["worker"]
        elif len(tokens) > 5 and tokens[3] == "_shared":
            self._is_swept = self._is_swept or tokens[5] == "sweep"
            if tokens[5] == "synced":
                self._synced.add((tokens[2], tokens[4]))
        elif tokens[-1] == "outcome":
            decided = json.loads(message.data)["decision"]
            if decided in self._baseless:
                yield f"decision {decided} of {message.subject} was applied, and rests on what the log has lost"
        elif tokens[-1] == "decision":
            yield from self._decision(message, tokens)

    def _decision(self, message: Message, tokens: list[str]) -> Iterator[str]:
        decision, where = json.loads(message.data), f"decision {message.sequence} of {message.subject}"
        revision, before = decision["revision"], self._decided.get(message.subject, (0, b""))
        if self._is_swept and revision <= before[0]:
            return  # Written again, so that it does not age out.
        if message.data == before[1]:
            yield f"{where} was recorded twice"
        inputs = decision["inputs"]
        newest = max(revision, *inputs.get("shared_revisions", {}).values(), 0)
        if newest >= message.sequence or self._checksums.get(newest) != decision.get("rests_on"):
            # The log lost its end a moment ago, and may have grown again to where it was. Nothing keeps this out of it;
            # but nothing may come of it, and what it rests on is no measure for those that follow.
            self._baseless.add(message.sequence)
            self._decided[message.subject] = before[0], message.data
            return
        self._decided[message.subject] = revision, message.data
        if revision < before[0] and self._began[message.sequence] <= before[0]:  # else the log has dropped that since
            yield f"{where} rests on {revision}, and the one before it on {before[0]}"
        epoch, current = inputs.get("partition_epoch", 0), self._epochs.get(tokens[2], 0)
        # An owner re-asserts its own epoch now and then: what it had planned before is still its own.
        if epoch != current and self._holders.get(epoch) != self._holders.get(current, ""):
            yield f"{where} was recorded under epoch {epoch}, and {current} was in force"
        if (decision.get("apply") or decision.get("delete")) and (tokens[2], tokens[3]) not in self._synced:
            yield f"{where} was made before anything was complete"


def divergences(world: World) -> list[str]:
    """Decisions that do not come out of the recorded facts again."""
    found: list[str] = []
    for life in world.log.lives:
        replayer = Replayer(begins=life[0].sequence if life else 1)
        for message in life:
            replayed = replayer.feed(message)
            if replayed is not None and replayed.verdict is Verdict.DIVERGED:
                found.append(f"decision {replayed.sequence} of {replayed.key} does not come out again")
    return found
