"""Whether the log tells the truth: its last facts beside what the API server holds, and no gap in between."""

from __future__ import annotations

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.codec import decode_record
from tapio_shared.facts import ObjectObserved
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.keys import parse_subject
from tapio_shared.settings import Settings
from tapio_shared.slim import slim
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.operator_run import OperatorRun

_KINDS = (
    "deployments,statefulsets,daemonsets,services,serviceaccounts,configmaps,roles,rolebindings,clusterroles,"
    "clusterrolebindings,networkpolicies,poddisruptionbudgets"
)
"""Kinds that kubectl and the watcher read under the same version, and whose whole content is in a fact."""
Ref = tuple[str, str, str]


async def differences(operator: OperatorRun, namespace: str) -> list[str]:
    """Where the facts about the TapioClusters of a namespace and the objects differ, each as a line; none if not."""
    live = {_ref(one): _comparable(one) for one in await _objects(operator.kubernetes, namespace)}
    kinds = {kind for kind, _, _ in live}
    told = {ref: document for ref, document in (await _facts(operator, namespace)).items() if ref[0] in kinds}
    lost = [f"{ref} exists and the log does not tell of it" for ref in sorted(live.keys() - told.keys())]
    wrong = [f"the log tells of {ref}, which does not exist" for ref in sorted(told.keys() - live.keys())]
    stale = [
        f"{ref} is {live[ref]} and the log tells of {told[ref]}"
        for ref in sorted(live.keys() & told.keys())
        if live[ref] != told[ref]
    ]
    return lost + wrong + stale


OWN_TARGET = Settings().target


async def has_gaps(operator: OperatorRun) -> bool:
    """Whether a sequence of the log is missing between its first and its last message."""
    connection = await NatsConnection.connect(operator.nats_urls, name="test")
    try:
        info = await NatsEventLog(connection).info()
    finally:
        await connection.close()
    return info.messages != info.last_sequence - info.first_sequence + 1


async def _objects(kubernetes: Kubernetes, namespace: str) -> list[JsonObject]:
    """Everything of the namespace's TapioClusters, wherever it is, and these themselves."""
    selector = f"tapio.io/cluster,tapio.io/cluster-namespace={namespace}"
    managed = await kubernetes.kubectl.document("get", _KINDS, "-A", "-l", selector)
    clusters = await kubernetes.kubectl.document("get", "tapioclusters", "-n", namespace)
    return [*objects_at(managed, "items"), *objects_at(clusters, "items")]


async def _facts(operator: OperatorRun, namespace: str) -> dict[Ref, JsonObject]:
    connection = await NatsConnection.connect(operator.nats_urls, name="test")
    try:
        view = await NatsEventLog(connection).last_per_subject("tapio.log.>")
    finally:
        await connection.close()
    found: dict[Ref, JsonObject] = {}
    for message in view.messages:
        address = parse_subject(message.subject)
        if (
            address.key is None
            or address.ref is None
            or (address.key.target, address.key.namespace)
            != (
                OWN_TARGET,
                namespace,
            )
        ):
            continue
        record = decode_record(message.data)
        if isinstance(record, ObjectObserved):
            found[_ref(record.object)] = _comparable(record.object)
    return found


def _ref(document: JsonObject) -> Ref:
    return (
        str_at(document, "kind"),
        str_at(document, "metadata", "namespace"),
        str_at(document, "metadata", "name"),
    )


def _comparable(document: JsonObject) -> JsonObject:
    """The slim form without the field managers, which kubectl leaves out."""
    kept = slim(document)
    metadata = {name: value for name, value in object_at(kept, "metadata").items() if name != "managedFields"}
    return {**kept, "metadata": metadata}
