"""What the operator undoes, what it leaves alone, and what a person can ask of it by annotation."""

from __future__ import annotations

from collections import Counter

import pytest

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.codec import decode_record
from tapio_shared.facts import ObjectGone
from tapio_shared.json import JsonObject, at, str_at, strings_at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import managed_objects, small_cluster
from tests.support.operator_run import PARTITIONS, OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")

_WHOLE_SELECTORS_SINCE = 21
"""Minor version of Kubernetes."""


async def ready(kubernetes: Kubernetes, name: str, namespace: str) -> None:
    await kubernetes.apply(small_cluster(name), namespace)
    await kubernetes.until_condition(name, "Ready", "True", namespace=namespace)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param("service", "one-nats", id="Service"),
        pytest.param("configmap", "one-nats-config", id="ConfigMap"),
        pytest.param("statefulset", "one-nats", id="StatefulSet"),
        pytest.param("clusterrole", "tapio:{namespace}:one:kubernetes", id="ClusterRole"),
    ],
)
async def test_a_deleted_object_is_made_again(operator: OperatorRun, namespace: str, kind: str, name: str) -> None:
    kubernetes = operator.kubernetes
    await ready(kubernetes, "one", namespace)
    name = name.format(namespace=namespace)
    before = str_at(await kubernetes.get(kind, name, namespace), "metadata", "uid")
    assert before

    await kubernetes.kubectl.run("delete", kind, name, "-n", namespace)

    async def is_back() -> bool:
        return str_at(await kubernetes.get(kind, name, namespace), "metadata", "uid") not in ("", before)

    await kubernetes.until(is_back)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)


@pytest.mark.parametrize(
    ("kind", "name", "patch", "path"),
    [
        pytest.param(
            "service",
            "one-nats",
            '{"spec": {"selector": {"app.kubernetes.io/name": "else"}}}',
            ("spec", "selector", "app.kubernetes.io/name"),
            id="a Service's selector",
        ),
        pytest.param(
            "configmap",
            "one-nats-config",
            '{"data": {"nats.conf": "port: 1"}}',
            ("data", "nats.conf"),
            id="a ConfigMap",
        ),
        pytest.param("statefulset", "one-nats", '{"spec": {"replicas": 0}}', ("spec", "replicas"), id="replicas"),
        pytest.param(
            "service",
            "one-nats",
            '{"metadata": {"labels": {"app.kubernetes.io/part-of": null}}}',
            ("metadata", "labels", "app.kubernetes.io/part-of"),
            id="a label taken away",
        ),
    ],
)
async def test_an_edited_field_is_set_back(
    operator: OperatorRun, namespace: str, kind: str, name: str, patch: str, path: tuple[str, ...]
) -> None:
    kubernetes = operator.kubernetes
    await ready(kubernetes, "one", namespace)
    before = await kubernetes.field(kind, name, path, namespace)
    assert before is not None
    position = await kubernetes.witness.position()

    await kubernetes.kubectl.run("patch", kind, name, "-n", namespace, "--type=merge", "-p", patch)

    async def was_set_back() -> bool:
        corrected = any(write.name == name for write in await kubernetes.operator_writes(position))
        return corrected and await kubernetes.field(kind, name, path, namespace) == before

    await kubernetes.until(was_set_back)


ADDED = [
    pytest.param(
        "networkpolicy",
        "one-nats-flows",
        "/spec/ingress/0/from/0/namespaceSelector",
        "{}",
        id="a peer of all namespaces",
    ),
    pytest.param(
        "clusterrole",
        "tapio:{namespace}:one:kubernetes",
        "/rules/0/resourceNames",
        '["none"]',
        id="a rule for one alone",
    ),
    pytest.param(
        "statefulset", "one-nats", "/spec/template/spec/tolerations/0/effect", '"NoExecute"', id="less is tolerated"
    ),
    pytest.param("service", "one-nats", "/spec/selector/never", '"there"', id="a Service of no pods"),
]


@pytest.mark.parametrize(("kind", "name", "place", "added"), ADDED)
async def test_what_others_add_to_what_is_ours_as_a_whole_is_taken_away(
    operator: OperatorRun, namespace: str, kind: str, name: str, place: str, added: str
) -> None:
    """An entry of a list that is no map, and a selector. Before 1.21 Kubernetes owns a selector key by key, so that an
    apply leaves there what others add: the operator tries once, and fights nobody."""
    kubernetes, kubectl = operator.kubernetes, operator.kubernetes.kubectl
    tolerated: JsonObject = {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}
    await kubernetes.apply(small_cluster("one", networkPolicy={"enabled": True}, scheduling=tolerated), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    name = name.format(namespace=namespace)
    path = tuple(int(step) if step.isdigit() else step for step in place.strip("/").split("/"))
    assert at(await kubernetes.get(kind, name, namespace), *path) is None
    position = await kubernetes.witness.position()

    patch = f'[{{"op": "add", "path": "{place}", "value": {added}}}]'
    await kubectl.run("patch", kind, name, "-n", namespace, "--type=json", "-p", patch)

    async def was_corrected() -> bool:
        return any(write.name == name for write in await kubernetes.operator_writes(position))

    await kubernetes.until(was_corrected)
    stays = kind == "service" and kubernetes.is_real and kubernetes.minor < _WHOLE_SELECTORS_SINCE
    assert (at(await kubernetes.get(kind, name, namespace), *path) is not None) == stays
    # Facts of one cluster are in order: once a later change is undone, the earlier ones have been judged.
    await kubectl.run("delete", "service", "one-correlation", "-n", namespace)

    async def is_back() -> bool:
        return await kubernetes.get("service", "one-correlation", namespace) is not None

    await kubernetes.until(is_back)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    written = [write.name for write in await kubernetes.operator_writes(position) if write.resource != "events"]
    assert written.count(name) == 1


async def test_what_others_add_is_left_alone(operator: OperatorRun, namespace: str) -> None:
    kubernetes, kubectl = operator.kubernetes, operator.kubernetes.kubectl
    await ready(kubernetes, "one", namespace)
    position = await kubernetes.witness.position()

    await kubectl.run("rollout", "restart", "deployment/one-kubernetes", "-n", namespace)
    await kubectl.run("rollout", "status", "deployment/one-kubernetes", "-n", namespace, "--timeout=60s")
    await kubectl.run("label", "deployment/one-kubernetes", "-n", namespace, "team=observers")
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    # Facts of one cluster are in order: once a later change is undone, the earlier ones have been judged.
    await kubectl.run("delete", "service", "one-nats", "-n", namespace)

    async def is_back() -> bool:
        return await kubernetes.get("service", "one-nats", namespace) is not None

    await kubernetes.until(is_back)
    deployment = await kubernetes.get("deployment", "one-kubernetes", namespace)
    assert strings_at(deployment, "metadata", "labels")["team"] == "observers"
    template = strings_at(deployment, "spec", "template", "metadata", "annotations")
    assert "kubectl.kubernetes.io/restartedAt" in template
    written = [write.name for write in await kubernetes.operator_writes(position) if write.resource != "events"]
    assert "one-kubernetes" not in written


async def test_force_reconcile_writes_every_object_once(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    await ready(kubernetes, "one", namespace)
    expected = {name for name in await managed_objects(kubernetes, "one", namespace) if not name.startswith("Secret/")}
    position = await kubernetes.witness.position()

    await kubernetes.kubectl.run("annotate", "tpc", "one", "-n", namespace, "tapio.io/force-reconcile=now")

    async def written() -> Counter[str]:
        found = await kubernetes.operator_writes(position)
        return Counter(
            f"{write.resource.partition('.')[0]}/{write.namespace}/{write.name}"
            for write in found
            if not write.subresource and write.resource.partition(".")[0] not in ("events", "tapioclusters")
        )

    async def as_many() -> bool:
        return len(await written()) >= len(expected)

    await kubernetes.until(as_many)
    # A correction that comes after it shows that the forced writes are over.
    await kubernetes.kubectl.run("delete", "serviceaccount", "one-nats", "-n", namespace)

    async def is_back() -> bool:
        return await kubernetes.get("serviceaccount", "one-nats", namespace) is not None

    await kubernetes.until(is_back)
    counts = await written()
    again = counts.pop(f"serviceaccounts/{namespace}/one-nats")
    assert again == 2
    assert set(counts.values()) == {1}, counts
    assert len(counts) + 1 == len(expected)


async def test_a_paused_cluster_is_not_written_to(operator: OperatorRun, namespace: str) -> None:
    kubernetes, kubectl = operator.kubernetes, operator.kubernetes.kubectl
    await ready(kubernetes, "one", namespace)
    await kubectl.run("annotate", "tpc", "one", "-n", namespace, "tapio.io/paused=true")
    await kubernetes.until_condition("one", "Paused", "True", reason="PausedByAnnotation", namespace=namespace)
    position = await kubernetes.witness.position()

    await kubectl.run("delete", "service", "one-nats", "-n", namespace)
    await _until_told_gone(operator, OrderingKey("local", namespace, "one"), "Service", "one-nats")
    await ready(kubernetes, "other", namespace)
    written = [one for one in await kubernetes.operator_writes(position) if "other" not in one.name]
    assert [one for one in written if one.namespace == namespace and one.resource != "events"] == []

    await kubectl.run("annotate", "tpc", "one", "-n", namespace, "tapio.io/paused-")

    async def is_back() -> bool:
        return await kubernetes.get("service", "one-nats", namespace) is not None

    await kubernetes.until(is_back)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    assert await kubernetes.condition("one", "Paused", namespace) == ("", "", "")


async def _until_told_gone(operator: OperatorRun, key: OrderingKey, kind: str, name: str) -> None:
    """Wait until the log says that an object is gone."""
    connection = await NatsConnection.connect([operator.nats.url], name="test")
    try:
        log, subject = (
            NatsEventLog(connection),
            object_subject(key, ObjectRef("", kind, key.namespace, name), PARTITIONS),
        )

        async def told() -> bool:
            last = await log.last(subject)
            return last is not None and isinstance(decode_record(last.data), ObjectGone)

        await operator.kubernetes.until(told)
    finally:
        await connection.close()
