"""Somebody else's autoscaler of a managed Deployment is one fact of its cluster, for as long as both exist."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tapio_shared.json import JsonObject, list_at
from tapio_shared.keys import ObjectRef, object_subject
from tests.integration.watcher.world import CLUSTER, PARTITIONS, World, labels_of
from tests.support.eventually import eventually

SCALER = ObjectRef("tapio.io", "Scaler", "default", "Deployment-gateway")


def deployment() -> JsonObject:
    template = {
        "metadata": {"labels": {"app": "gateway"}},
        "spec": {"containers": [{"name": "main", "image": "example.com/gateway:1"}]},
    }
    return cast(
        "JsonObject",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "gateway", "namespace": "default", "labels": labels_of()},
            "spec": {"selector": {"matchLabels": {"app": "gateway"}}, "template": template},
        },
    )


def autoscaler(name: str, **metadata: JsonObject) -> JsonObject:
    return cast(
        "JsonObject",
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": "default", **metadata},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"},
                "minReplicas": 1,
                "maxReplicas": 3,
            },
        },
    )


async def told(world: World) -> list[object]:
    return list(list_at(await world.observed(SCALER), "autoscalers"))


async def until_told(world: World, *names: str) -> None:
    async def is_told() -> bool:
        return await told(world) == [*names]

    await eventually(is_told)


@pytest.mark.parametrize(
    "first", [pytest.param(0, id="the autoscaler first"), pytest.param(1, id="the Deployment first")]
)
async def test_autoscalers_of_others_are_told_with_the_deployment(tmp_path: Path, first: int) -> None:
    async with World(tmp_path) as world, world.watcher():
        documents = (autoscaler("b"), deployment())
        await world.create(documents[first])
        await world.create(documents[1 - first])
        await until_told(world, "b")

        await world.create(autoscaler("a"))
        await until_told(world, "a", "b")

        await world.delete(autoscaler("b"))
        await until_told(world, "a")
        await world.delete(autoscaler("a"))
        await eventually(lambda: world.is_gone(SCALER))


async def test_what_changed_while_nobody_watched_is_told_after_a_restart(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(deployment())
        await world.create(autoscaler("theirs"))
        async with world.watcher():
            assert await told(world) == ["theirs"]
        async with world.watcher():
            assert len(await world.messages(object_subject(CLUSTER, SCALER, PARTITIONS))) == 1
        await world.delete(autoscaler("theirs"))
        async with world.watcher():
            assert await world.is_gone(SCALER)


async def test_ours_and_what_was_handed_over_and_other_peoples_deployments_are_not_told(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.watcher():
        await world.create(deployment())
        await world.create(autoscaler("ours", labels=labels_of()))
        await world.create(autoscaler("handed-over", annotations={"tapio.io/adopt": "true"}))
        await world.create(autoscaler("theirs"))
        await until_told(world, "theirs")

        await world.patch(deployment(), {"metadata": {"labels": None}})
        await eventually(lambda: world.is_gone(SCALER))
