"""What the settings of the simulated nodes change."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tapio_simulator.kubelet import KnownImages, NodeShape, fleet
from tests.support.moving_cluster import QUICK, moving_cluster
from tests.support.workloads import claim_template, container, is_ready, status, template, waiting_reason, workload


async def test_a_class_may_wait_for_the_first_pod() -> None:
    async with moving_cluster(replace(QUICK, wait_for_consumer=True, normal_events=True)) as (_, cluster):
        claim: JsonObject = {"metadata": {"name": "data"}, "spec": claim_template()["spec"]}
        await cluster.create("v1", "persistentvolumeclaims", claim)
        path = cluster.calls.path("v1", "persistentvolumeclaims", "data")
        await cluster.until_event("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
        assert str_at((await cluster.calls.get(path)).document, "status", "phase") == "Pending"

        spec: JsonObject = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
        await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web", spec)))

        pods = await cluster.until_pods(lambda pods: len(pods) == 1 and is_ready(pods[0]))
        found = await cluster.until(path, lambda one: str_at(one, "status", "phase") == "Bound")
        selected = strings_at(found, "metadata", "annotations")["volume.kubernetes.io/selected-node"]
        assert selected == str_at(pods[0], "spec", "nodeName")


async def test_without_a_default_class_a_claim_stays_pending_and_says_why() -> None:
    async with moving_cluster(replace(QUICK, storage_class="")) as (_, cluster):
        claim: JsonObject = {"metadata": {"name": "data"}, "spec": claim_template()["spec"]}
        await cluster.create("v1", "persistentvolumeclaims", claim)

        event = await cluster.until_event(
            "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
        )

        assert (event["type"], str_at(event, "involvedObject", "name")) == ("Normal", "data")
        path = cluster.calls.path("v1", "persistentvolumeclaims", "data")
        assert str_at((await cluster.calls.get(path)).document, "status", "phase") == "Pending"
        late: JsonObject = {
            "metadata": {"name": "late", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "volumes.simulator.tapio.io",
        }
        await cluster.calls.create("/apis/storage.k8s.io/v1/storageclasses", late)
        found = await cluster.until(path, lambda one: str_at(one, "status", "phase") == "Bound")
        assert str_at(found, "spec", "storageClassName") == "late"


async def test_nodes_are_what_their_shapes_say() -> None:
    like = NodeShape(name="", architecture="arm64", kernel="5.15.0", labels={"tapio.io/btf": "false"}, cpu="2")
    async with moving_cluster(replace(QUICK, nodes=fleet(4, like))) as (_, cluster):
        found = await cluster.until("/api/v1/nodes", lambda one: len(objects_at(one, "items")) == 4)

        nodes = objects_at(found, "items")
        assert {str_at(one, "metadata", "labels", "topology.kubernetes.io/zone") for one in nodes} == {
            "zone-a",
            "zone-b",
            "zone-c",
        }
        assert {str_at(one, "status", "nodeInfo", "kernelVersion") for one in nodes} == {"5.15.0"}
        assert {str_at(one, "metadata", "labels", "kubernetes.io/arch") for one in nodes} == {"arm64"}
        assert {str_at(one, "metadata", "labels", "tapio.io/btf") for one in nodes} == {"false"}
        spec: JsonObject = {"containers": [container(resources={"requests": {"cpu": "3"}})]}
        await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web", spec)))
        await cluster.until_event("FailedScheduling", "0/4 nodes are available: 4 Insufficient cpu.")


async def test_only_the_images_that_are_named_are_known() -> None:
    async with moving_cluster(replace(QUICK, images=KnownImages(("registry.example/*",)))) as (_, cluster):
        await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web")))
        await cluster.until_pods(lambda pods: bool(pods) and waiting_reason(pods[0]) == "ImagePullBackOff")

        own: JsonObject = {"containers": [container(image="registry.example/web:1")]}
        await cluster.create("apps/v1", "deployments", workload("Deployment", "own", template("own", own)))

        path = cluster.calls.path("apps/v1", "deployments", "own")
        await cluster.until(path, lambda one: status(one).get("availableReplicas") == 1)


async def test_starting_takes_the_time_that_was_asked_for() -> None:
    async with moving_cluster(replace(QUICK, startup=(0.3, 0.3))) as (_, cluster):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web")))
        await cluster.until_pods(lambda pods: bool(pods) and is_ready(pods[0]))

        assert loop.time() - begun >= 0.3
