"""ConfigMaps of certificate authorities are told of by name, without their content, and their absence is a fact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from tapio_shared.json import JsonObject, object_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tests.integration.watcher.world import CONFIG, TARGET, World, cluster_document
from tests.support.eventually import eventually

OURS = ObjectRef("tapio.io", "Authorities", "default", "ours")
SHARED = ObjectRef("tapio.io", "Authorities", "default", "corporate-ca")
OF_AGENTS = ObjectRef("tapio.io", "Authorities", "tapio-nodes", "corporate-ca")
TRUSTED: JsonObject = {"tls": {"secretRef": {"name": "pair"}, "caConfigMapRef": {"name": "ours"}}}
TRUSTING = f"{CONFIG}network: {{caConfigMap: {{name: corporate-ca}}}}\n"


def bundle(ref: ObjectRef, data: Mapping[str, str]) -> JsonObject:
    metadata: JsonObject = {"name": ref.name, "namespace": ref.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": cast("JsonObject", {**data})}


async def digests(world: World, ref: ObjectRef, key: OrderingKey | None = None) -> JsonObject:
    found = await (world.observed(ref) if key is None else world.observed(ref, key))
    return object_at(found, "digests")


async def test_one_that_a_gateway_names_comes_changes_and_goes(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document(gateway=TRUSTED))
        async with world.watcher():
            assert await world.is_gone(OURS)
            await world.create(bundle(OURS, {"ca.crt": "A CERTIFICATE", "empty": ""}))

            async def is_told() -> bool:
                return set(await digests(world, OURS)) == {"ca.crt", "empty"}

            await eventually(is_told)
            before = await digests(world, OURS)
            assert before["empty"] == ""
            await world.patch(bundle(OURS, {}), {"data": {"ca.crt": "ANOTHER"}})

            async def is_another() -> bool:
                return (await digests(world, OURS)).get("ca.crt") not in (None, before["ca.crt"])

            await eventually(is_another)
            assert not [one for one in await world.messages() if b"CERTIFICATE" in one.data]
            await world.delete(bundle(OURS, {}))
            await eventually(lambda: world.is_gone(OURS))


async def test_one_that_goes_or_comes_while_no_watcher_runs(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document(gateway=TRUSTED))
        await world.create(bundle(OURS, {"ca.crt": "A"}))
        async with world.watcher():
            assert set(await digests(world, OURS)) == {"ca.crt"}
        await world.delete(bundle(OURS, {}))
        async with world.watcher():
            assert await world.is_gone(OURS)
        await world.create(bundle(OURS, {"ca.crt": "A"}))
        async with world.watcher():
            assert set(await digests(world, OURS)) == {"ca.crt"}


async def test_one_that_the_operators_configuration_names_is_told_to_every_cluster(tmp_path: Path) -> None:
    other = OrderingKey(TARGET, "default", "other")
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        async with world.watcher():
            assert await world.last(SHARED) is None
            await world.configure(TRUSTING)
            await eventually(lambda: world.is_gone(SHARED))
            await eventually(lambda: world.is_gone(OF_AGENTS))
            await world.create(bundle(SHARED, {"ca.crt": "A"}))
            await world.create(cluster_document("other"))

            async def both_know() -> bool:
                return bool(await digests(world, SHARED)) and bool(await digests(world, SHARED, other))

            await eventually(both_know)
            assert await world.is_gone(OF_AGENTS)


async def test_nobody_is_told_of_what_nobody_names(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document(gateway=TRUSTED))
        await world.create(bundle(ObjectRef("", "ConfigMap", "default", "another"), {"ca.crt": "A"}))
        async with world.watcher():
            assert await world.is_gone(OURS)
        assert not [one.subject for one in await world.messages() if one.subject.endswith(".another")]
