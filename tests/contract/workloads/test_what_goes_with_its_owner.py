"""Garbage collection in all its ways, claims that stay, and the end of a namespace."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at, strings_at
from tests.support.kube_calls import config_map
from tests.support.workloads import Cluster, claim_template, is_ready, names, status, template, workload


def _reference(owner: JsonObject, **fields: bool | str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": str_at(owner, "metadata", "name"),
        "uid": str_at(owner, "metadata", "uid"),
        **fields,
    }


async def _family(cluster: Cluster, **fields: bool | str) -> tuple[str, str]:
    """An owner and a dependent; answers their paths."""
    owner = await cluster.create("v1", "configmaps", config_map("owner"))
    await cluster.create("v1", "configmaps", config_map("child", ownerReferences=[_reference(owner, **fields)]))
    return cluster.calls.path("v1", "configmaps", "owner"), cluster.calls.path("v1", "configmaps", "child")


async def test_dependents_go_after_their_owner(cluster: Cluster) -> None:
    owner, child = await _family(cluster)

    await cluster.calls.delete(owner, propagationPolicy="Background")

    await cluster.gone(child)


async def test_a_foreground_deletion_waits_for_dependents_that_block(cluster: Cluster) -> None:
    owner, child = await _family(cluster, blockOwnerDeletion=True)
    await cluster.calls.merge(child, {"metadata": {"finalizers": ["tests.tapio.io/hold"]}})

    reply = await cluster.calls.delete(owner, propagationPolicy="Foreground")
    assert at(reply.document, "metadata", "finalizers") == ["foregroundDeletion"]
    await cluster.until(child, lambda one: "deletionTimestamp" in object_at(one, "metadata"))
    assert (await cluster.calls.get(owner)).status == 200
    await cluster.calls.merge(child, {"metadata": {"finalizers": None}})

    await cluster.gone(owner)
    await cluster.gone(child)


async def test_orphans_stay_without_their_reference(cluster: Cluster) -> None:
    owner, child = await _family(cluster)

    await cluster.calls.delete(owner, propagationPolicy="Orphan")

    await cluster.gone(owner)
    left = (await cluster.calls.get(child)).document
    assert at(left, "metadata", "ownerReferences") is None


async def test_an_owner_that_never_was(cluster: Cluster) -> None:
    ghost: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "ghost",
        "uid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }
    await cluster.create("v1", "configmaps", config_map("child", ownerReferences=[ghost]))

    await cluster.gone(cluster.calls.path("v1", "configmaps", "child"))


async def test_an_owner_of_the_same_name_is_not_the_owner(cluster: Cluster) -> None:
    await cluster.create("v1", "configmaps", config_map("owner"))
    other: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }
    await cluster.create("v1", "configmaps", config_map("child", ownerReferences=[other]))

    await cluster.gone(cluster.calls.path("v1", "configmaps", "child"))
    assert (await cluster.calls.get(cluster.calls.path("v1", "configmaps", "owner"))).status == 200


async def test_one_owner_that_lives_is_enough(cluster: Cluster) -> None:
    first = await cluster.create("v1", "configmaps", config_map("first"))
    second = await cluster.create("v1", "configmaps", config_map("second"))
    references = [_reference(first), _reference(second)]
    await cluster.create("v1", "configmaps", config_map("child", ownerReferences=list(references)))

    await cluster.calls.delete(cluster.calls.path("v1", "configmaps", "first"))

    left = await cluster.until(
        cluster.calls.path("v1", "configmaps", "child"),
        lambda one: len(objects_at(one, "metadata", "ownerReferences")) == 1,
    )
    assert objects_at(left, "metadata", "ownerReferences")[0]["name"] == "second"


async def test_a_deployment_takes_its_pods_along(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=2))
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 2)

    await cluster.calls.delete(path, propagationPolicy="Background")

    await cluster.until_pods(lambda pods: not pods)
    await cluster.until(cluster.calls.path("apps/v1", "replicasets"), lambda one: not objects_at(one, "items"))


async def test_claims_outlive_their_stateful_set_and_are_taken_up_again(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), volumeClaimTemplates=[claim_template()])
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 1)
    claim = cluster.calls.path("v1", "persistentvolumeclaims", "data-db-0")
    volume = str_at((await cluster.calls.get(claim)).document, "spec", "volumeName")

    await cluster.calls.delete(path, propagationPolicy="Background")
    await cluster.until_pods(lambda pods: not pods)
    assert str_at((await cluster.calls.get(claim)).document, "status", "phase") == "Bound"
    await cluster.create("apps/v1", "statefulsets", document)

    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 1)
    assert str_at((await cluster.calls.get(claim)).document, "spec", "volumeName") == volume


async def test_a_stateful_set_made_anew_takes_over_the_pods_it_was_deleted_without(cluster: Cluster) -> None:
    """What the operator rests on to let volumes grow: no pod is restarted, and the new claim template holds."""
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), replicas=2, volumeClaimTemplates=[claim_template()])
    made = await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 2)
    before = {str_at(pod, "metadata", "uid") for pod in await cluster.pods()}
    revision = str_at((await cluster.calls.get(path)).document, "status", "updateRevision")
    anew = workload(
        "StatefulSet",
        "db",
        template("db"),
        replicas=2,
        podManagementPolicy="Parallel",
        volumeClaimTemplates=[claim_template(resources={"requests": {"storage": "2Gi"}})],
    )
    assert (await cluster.calls.merge(path, {"spec": object_at(anew, "spec")})).status == 422

    await cluster.calls.delete(path, propagationPolicy="Orphan")
    await cluster.gone(path)
    pods = await cluster.pods()
    assert {str_at(pod, "metadata", "uid") for pod in pods} == before
    assert [at(pod, "metadata", "ownerReferences") for pod in pods] == [None, None]
    labels = [strings_at(pod, "metadata", "labels")["statefulset.kubernetes.io/pod-name"] for pod in pods]
    assert sorted(labels) == ["db-0", "db-1"]
    await cluster.create("apps/v1", "statefulsets", anew)

    found = await cluster.until(path, lambda one: status(one).get("readyReplicas") == 2)
    assert str_at(found, "metadata", "uid") != str_at(made, "metadata", "uid")
    assert str_at(found, "status", "updateRevision") == revision
    owners = [objects_at(pod, "metadata", "ownerReferences") for pod in await cluster.pods()]
    assert [str_at(one[0], "uid") for one in owners] == [str_at(found, "metadata", "uid")] * 2
    assert {str_at(pod, "metadata", "uid") for pod in await cluster.pods()} == before
    assert str_at(objects_at(found, "spec", "volumeClaimTemplates")[0], "spec", "resources", "requests", "storage") == (
        "2Gi"
    )


async def test_a_claim_in_use_goes_only_after_its_pod(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), volumeClaimTemplates=[claim_template()])
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 1)
    claim = cluster.calls.path("v1", "persistentvolumeclaims", "data-db-0")
    volume = str_at((await cluster.calls.get(claim)).document, "spec", "volumeName")

    await cluster.calls.delete(claim)
    left = (await cluster.calls.get(claim)).document
    assert at(left, "metadata", "finalizers") == ["kubernetes.io/pvc-protection"]
    assert "deletionTimestamp" in object_at(left, "metadata")
    await cluster.calls.delete(path, propagationPolicy="Background")

    await cluster.gone(claim)
    await cluster.gone(f"/api/v1/persistentvolumes/{volume}")


async def test_a_claim_grows_when_its_class_allows_it(cluster: Cluster) -> None:
    claim: JsonObject = {"metadata": {"name": "data"}, "spec": claim_template()["spec"]}
    await cluster.create("v1", "persistentvolumeclaims", claim)
    path = cluster.calls.path("v1", "persistentvolumeclaims", "data")
    await cluster.until(path, lambda one: str_at(one, "status", "phase") == "Bound")

    reply = await cluster.calls.merge(path, {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})

    assert reply.status == 200, reply.message
    found = await cluster.until(path, lambda one: str_at(one, "status", "capacity", "storage") == "3Gi")
    volume = await cluster.calls.get(f"/api/v1/persistentvolumes/{str_at(found, 'spec', 'volumeName')}")
    assert str_at(volume.document, "spec", "capacity", "storage") == "3Gi"


async def test_orphaned_pods_are_taken_over_by_a_new_stateful_set(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), replicas=2)
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 2)
    before = {str_at(pod, "metadata", "uid") for pod in await cluster.pods()}

    await cluster.calls.delete(path, propagationPolicy="Orphan")
    await cluster.gone(path)
    made = await cluster.create("apps/v1", "statefulsets", document)
    uid = str_at(made, "metadata", "uid")
    pods = await cluster.until_pods(
        lambda pods: all(at(pod, "metadata", "ownerReferences", 0, "uid") == uid for pod in pods)
    )

    assert {str_at(pod, "metadata", "uid") for pod in pods} == before
    assert names(pods) == ["db-0", "db-1"]
    assert all(map(is_ready, pods))


async def test_a_namespace_takes_everything_along(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), volumeClaimTemplates=[claim_template()])
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 1)

    await cluster.calls.delete(f"/api/v1/namespaces/{cluster.calls.namespace}")

    await cluster.gone(f"/api/v1/namespaces/{cluster.calls.namespace}", seconds=60)
    assert (await cluster.calls.get(path)).status == 404


@pytest.mark.parametrize("policy", [pytest.param("Delete", id="claims of a set that asks for it")])
async def test_claims_go_with_a_set_that_says_so(cluster: Cluster, policy: str) -> None:
    if not cluster.serves_retention_policy:
        pytest.skip("This API server does not know persistentVolumeClaimRetentionPolicy.")
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload(
        "StatefulSet",
        "db",
        template("db"),
        volumeClaimTemplates=[claim_template()],
        persistentVolumeClaimRetentionPolicy={"whenDeleted": policy, "whenScaled": "Retain"},
    )
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 1)

    await cluster.calls.delete(path, propagationPolicy="Background")

    await cluster.gone(cluster.calls.path("v1", "persistentvolumeclaims", "data-db-0"))
