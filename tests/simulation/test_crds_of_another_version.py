"""An operator beside CRDs that do not know all fields of its status: it comes to rest, and goes on when they do."""

from __future__ import annotations

import asyncio
import copy
from typing import cast

import pytest

from tapio_reconciler.core.rules import NEWEST
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, object_at, objects_at
from tapio_shared.kubernetes import check, object_path
from tests.support.e2e_objects import small_cluster
from tests.support.incidents import NAME, Incident, incident
from tests.support.operator_in_process import RECONCILER
from tests.support.virtual_time import run_virtually

_CRD = object_path("apiextensions.k8s.io", "v1", "customresourcedefinitions", "", "tapioclusters.tapio.io")


async def _definition(one: Incident) -> JsonObject:
    return cast("JsonObject", decode_as(dict, check(await one.operator.admin.request("GET", _CRD))))


async def _replace(one: Incident, definition: JsonObject) -> None:
    live = await _definition(one)
    check(await one.operator.admin.request("PUT", _CRD, body=encode({**definition, "metadata": live["metadata"]})))


def _without_components(definition: JsonObject) -> JsonObject:
    found = copy.deepcopy(definition)
    for version in objects_at(found, "spec", "versions"):
        fields = object_at(version, "schema", "openAPIV3Schema", "properties", "status", "properties")
        del fields["components"]
    return found


async def _written(one: Incident, seconds: float) -> int:
    """How often the worker writes the TapioCluster within that time."""
    mark = one.operator.cluster.writes.total
    await asyncio.sleep(seconds)  # virtual seconds, in which it is seen what is done
    return sum(
        write.user == RECONCILER.name and write.resource.startswith("tapioclusters")
        for write in one.operator.cluster.writes.since(mark)
    )


@pytest.mark.parametrize(
    ("logic", "least", "most"),
    [
        pytest.param(6, 300, 2_000, id="rules 6: again and again"),
        pytest.param(NEWEST, 0, 3, id="the newest rules"),
    ],
)
def test_a_status_whose_fields_are_dropped_is_not_written_again_and_again(logic: int, least: int, most: int) -> None:
    async def run() -> int:
        async with incident(ready=False) as one:
            await one.operator.configure(f"plannerLogic: {logic}")
            await one.create("alice", small_cluster(NAME, version=DEFAULT_TAPIO_VERSION))
            await one.until_condition("Ready", "True")
            await _replace(one, _without_components(await _definition(one)))
            await one.edit("bob", {"spec": {"nats": {"podLabels": {"team": "a"}}}})
            await asyncio.sleep(30)  # virtual seconds, in which NATS is rolled
            assert "components" not in object_at(await one.get("tapio.io/v1alpha1", "tapioclusters", NAME), "status")
            return await _written(one, 30)

    assert least <= run_virtually(run()) <= most


def test_what_matters_is_told_beside_fields_that_are_dropped_and_those_when_the_crd_knows_them_again() -> None:
    async def run() -> None:
        async with incident(ready=False) as one:
            await one.operator.configure(f"plannerLogic: {NEWEST}")
            await one.create("alice", small_cluster(NAME, version=DEFAULT_TAPIO_VERSION))
            await one.until_condition("Ready", "True")
            whole = await _definition(one)
            await _replace(one, _without_components(whole))
            await one.edit("bob", {"spec": {"nats": {"image": "docker.io/library/nats:does-not-exist"}}})
            await one.until_condition("Ready", "False", "ImagePullFailed")
            assert (await one.explained()).answer == (
                "The API server drops components of the status, which its CRDs do not know: they are of another "
                "version than the operator. Apply those of the operator's release: kubectl apply -f crds/crds.yaml, "
                "before Kubernetes 1.25 crds/crds-legacy.yaml."
            )
            await one.edit("bob", {"spec": {"nats": {"image": None}}})
            await one.until_condition("Ready", "True")
            await _replace(one, whole)
            await one.until(lambda found: "components" in object_at(found, "status"), seconds=400)
            assert (await one.explained()).answer.startswith(f"TapioCluster default/{NAME} is ready since ")

    run_virtually(run())
