"""Secrets become digests, pods become one summary per workload, nodes become the fleet."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import cast

from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import FleetObserved, ObjectObserved
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, shared_subject
from tapio_shared.kubernetes import check
from tests.integration.watcher.world import CLUSTER, TARGET, Watched, World, cluster_document, labels_of
from tests.support.eventually import eventually

PLANTED = "correct-horse-battery-staple"
CREDENTIALS = ObjectRef("", "Secret", "default", "nats-credentials")
GENERATED = ObjectRef("", "Secret", "default", "tapio-neo4j-auth")
PODS = ObjectRef("tapio.io", "Pods", "default", "Deployment-gateway")


def secret(name: str, value: str = PLANTED, labels: JsonObject | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": "default"}
    if labels is not None:
        metadata["labels"] = labels
    metadata["annotations"] = {"kapp.k14s.io/original": f'{{"stringData":{{"password":"{value}"}}}}'}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": value}}


def with_nats_secret(name: str = "tapio") -> JsonObject:
    external = {"url": "nats://nats.example.com:4222", "credentialsSecretRef": {"name": CREDENTIALS.name}}
    return cluster_document(name, nats={"external": external})


def pod(name: str, *, ready: bool = False, reason: str = "") -> JsonObject:
    waiting = {"state": {"waiting": {"reason": reason, "message": "no such image"}}} if reason else {}
    labels = {**labels_of(), "pod-template-hash": "abc"}
    return cast(
        "JsonObject",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "labels": labels,
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": "gateway-abc",
                        "uid": "r-1",
                        "controller": True,
                    }
                ],
            },
            "spec": {"containers": [{"name": "main", "image": "example.com/gateway:1"}]},
            "status": {
                "phase": "Running" if ready else "Pending",
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
                "containerStatuses": [
                    {
                        "name": "main",
                        "image": "example.com/gateway:1",
                        "imageID": "",
                        "ready": ready,
                        "restartCount": 0,
                        **waiting,
                    }
                ],
            },
        },
    )


async def set_status(world: World, document: JsonObject) -> None:
    name = str_at(document, "metadata", "name")
    path = f"/api/v1/namespaces/default/pods/{name}/status"
    body = encode({"status": document["status"]})
    check(await world.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json"))


async def test_a_referenced_secret_is_told_as_digests_and_its_absence_as_a_fact(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(with_nats_secret())
        async with world.watcher() as watched:
            assert await world.is_gone(CREDENTIALS)
            await world.create(secret(CREDENTIALS.name))
            await eventually(lambda: _is_told(world, CREDENTIALS))
            before = object_at(await world.observed(CREDENTIALS), "digests")
            assert set(before) == {"password"}
            await world.patch(secret(CREDENTIALS.name), {"stringData": {"password": "another"}})
            await eventually(lambda: _differs(world, CREDENTIALS, before))
            await world.delete(secret(CREDENTIALS.name))
            await eventually(lambda: world.is_gone(CREDENTIALS))
            assert watched.count("secret_watches") == 1


async def test_generated_secrets_share_one_watch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        async with world.watcher() as watched:
            assert await world.is_gone(GENERATED)
            await world.create(secret(GENERATED.name, labels=labels_of()))
            await eventually(lambda: _is_told(world, GENERATED))
            assert watched.count("secret_watches") == 0
            await world.delete(secret(GENERATED.name))
            await eventually(lambda: world.is_gone(GENERATED))


async def test_a_secret_of_two_clusters_is_told_to_both(tmp_path: Path) -> None:
    other = OrderingKey(TARGET, "default", "other")
    async with World(tmp_path) as world:
        await world.create(secret(CREDENTIALS.name))
        await world.create(with_nats_secret())
        async with world.watcher() as watched:
            await world.create(with_nats_secret("other"))
            await eventually(lambda: _is_told(world, CREDENTIALS, other))
            assert await world.observed(CREDENTIALS) == await world.observed(CREDENTIALS, other)
            await world.delete(with_nats_secret())
            await world.delete(with_nats_secret("other"))
            await eventually(lambda: _has(watched, 0))


async def test_no_value_of_a_secret_is_anywhere_in_the_history(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(with_nats_secret())
        await world.create(secret(CREDENTIALS.name))
        await world.create(secret(GENERATED.name, labels=labels_of()))
        async with world.watcher():
            await world.patch(secret(CREDENTIALS.name), {"stringData": {"password": PLANTED + "!"}})
            await eventually(lambda: _is_told(world, CREDENTIALS))
            history = await world.messages()
    store = b"".join(path.read_bytes() for path in sorted((tmp_path / "nats").rglob("*.blk")))
    assert any(CREDENTIALS.name.encode() in message.data for message in history)
    for form in (PLANTED.encode(), base64.b64encode(PLANTED.encode())):
        assert not any(form in message.data for message in history)
        assert form not in store


async def test_the_pods_of_a_workload_are_one_fact(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for number in range(7):
            document = pod(f"gateway-abc-{number}", reason="ImagePullBackOff")
            await world.create(document)
            await set_status(world, document)
        async with world.watcher():
            summary = await world.observed(PODS)
            assert summary is not None
            assert (summary["total"], summary["ready"]) == (7, 0)
            assert [(one["reason"], one["count"]) for one in objects_at(summary, "reasons")] == [
                ("ImagePullBackOff", 7)
            ]
            assert len(cast("list[object]", summary["sample"])) == 5
            for number in range(7):
                await set_status(world, pod(f"gateway-abc-{number}", ready=True))
            await eventually(lambda: _ready(world, 7))
            summary = await world.observed(PODS)
            assert at(summary, "reasons") == []
            facts = [one for one in await world.messages() if ".Pods." in one.subject]
            assert len(facts) < 7


async def test_the_summary_goes_with_the_last_pod(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(pod("gateway-abc-1"))
        async with world.watcher():
            await world.delete(pod("gateway-abc-1"))
            await eventually(lambda: world.is_gone(PODS))


async def test_nodes_and_classes_become_the_fleet(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tapio-nodes"}})
        await world.create(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": "fast",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "example.com/fast",
            }
        )
        async with world.watcher():
            fleet = await _fleet(world)
            assert fleet.default_storage_class == "fast"
            assert fleet.namespaces == {"tapio-nodes": ""}
            assert fleet.hosts == 0
            await world.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
            await eventually(lambda: _groups(world, 1))


async def _fleet(world: World) -> FleetObserved:
    message = await world.log.last(shared_subject(0, TARGET, "fleet"))
    assert message is not None
    fact = decode_record(message.data)
    assert isinstance(fact, FleetObserved)
    return fact


async def _groups(world: World, count: int) -> bool:
    return len((await _fleet(world)).groups) == count


async def _is_told(world: World, ref: ObjectRef, key: OrderingKey = CLUSTER) -> bool:
    return isinstance(await world.last(ref, key), ObjectObserved)


async def _differs(world: World, ref: ObjectRef, digests: JsonObject) -> bool:
    return object_at(await world.observed(ref), "digests") != digests


async def _ready(world: World, count: int) -> bool:
    return at(await world.observed(PODS), "ready") == count


async def _has(watched: Watched, secret_watches: int) -> bool:
    return watched.count("secret_watches") == secret_watches
