"""Kubernetes from 1.34 on beside an etcd older than 3.4.31: what asks for a streamed list is answered with 500."""

from __future__ import annotations

from pathlib import Path

from tapio_shared.api.references import made_secrets
from tapio_shared.json import JsonObject, at
from tapio_shared.keys import ObjectRef
from tests.integration.watcher.world import World, cluster_document, config_map, config_map_ref, labels_of
from tests.support.eventually import eventually
from tests.support.kube_without_streams import OldEtcd

REFUSED = "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"
NATS = ObjectRef("", "Secret", "default", made_secrets("tapio", "default")[1])


async def test_everything_is_told_as_by_any_other(tmp_path: Path) -> None:
    async with World(tmp_path, door=OldEtcd) as world:
        await world.create(cluster_document())
        await world.create(config_map("before"))
        metadata: JsonObject = {"name": NATS.name, "namespace": NATS.namespace, "labels": labels_of()}
        secret: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        await world.create({**secret, "stringData": {"password": "planted"}})
        async with world.watcher():
            before = at(await world.observed(NATS), "digests", "password")
            assert before is not None
            assert await world.observed(config_map_ref("before")) is not None
            await world.create(config_map("later"))

            async def is_told() -> bool:
                return await world.observed(config_map_ref("later")) is not None

            await eventually(is_told)
            await world.patch(secret, {"stringData": {"password": "another"}})

            async def is_told_anew() -> bool:
                return at(await world.observed(NATS), "digests", "password") not in (before, None)

            await eventually(is_told_anew)
