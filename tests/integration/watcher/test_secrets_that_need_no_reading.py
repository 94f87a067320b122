"""A watcher that begins anew reads no Secret of ours that the shared watch finds as the log tells, and misses none."""

from __future__ import annotations

import shutil
from pathlib import Path

from tapio_shared.api.references import copied_secrets, made_secrets
from tapio_shared.json import JsonObject, at
from tapio_shared.keys import ObjectRef
from tapio_simulator.faults import Fault
from tests.integration.watcher.world import World, cluster_document, config_map, config_map_ref, labels_of
from tests.support.eventually import eventually

NEO4J, NATS, TLS = (ObjectRef("", "Secret", "default", name) for name in made_secrets("tapio", "default"))
COPIES = copied_secrets("tapio", "default")
BROUGHT = ObjectRef("", "Secret", "default", "nats-credentials")
EXTERNAL = {"url": "nats://nats.example.com:4222", "credentialsSecretRef": {"name": BROUGHT.name}}


class Reads:
    """How often each Secret has been read since this was made."""

    def __init__(self, world: World) -> None:
        names = (NEO4J.name, NATS.name, TLS.name, *COPIES, BROUGHT.name)
        self._rules = {name: Fault("delay", frozenset({"get"}), frozenset({"secrets"}), name=name) for name in names}
        for rule in self._rules.values():
            world.cluster.faults.add(rule)

    @property
    def counted(self) -> dict[str, int]:
        return {name: rule.acted for name, rule in self._rules.items() if rule.acted}


async def test_what_is_as_the_log_tells_is_not_read_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await _begin(world)
        first = Reads(world)
        async with world.watcher():
            before = (await world.log.info()).last_sequence
        assert first.counted == dict.fromkeys((NEO4J.name, NATS.name, TLS.name, *COPIES), 1) | {BROUGHT.name: 2}
        again = Reads(world)
        async with world.watcher():
            # People's Secrets have a watch of their own each, which begins where they were read.
            assert again.counted == {BROUGHT.name: 2}
            assert await world.messages("tapio.log.>", from_sequence=before + 1) == []


async def test_what_changed_while_nobody_watched_is_read_and_told_before_all_is_said_to_be_told(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await _begin(world)
        async with world.watcher():
            before = at(await world.observed(NEO4J), "digests", "password")
        await world.patch(_secret(NEO4J), {"stringData": {"password": "another"}})
        await world.create(_secret(TLS))
        reads = Reads(world)
        async with world.watcher():
            assert reads.counted == {NEO4J.name: 1, TLS.name: 1, BROUGHT.name: 2}
            assert at(await world.observed(NEO4J), "digests", "password") not in (before, None)
            assert at(await world.observed(TLS), "digests", "password") is not None
            assert at(await world.observed(NATS), "digests", "password") is not None


async def test_of_what_the_watch_does_not_tell_nothing_is_taken_for_granted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await _begin(world)
        async with world.watcher():
            pass
        await world.delete(_secret(NEO4J))
        stranger = _secret(TLS)
        stranger["metadata"] = {"name": TLS.name, "namespace": "default"}  # carries no label of ours
        await world.create(stranger)
        reads = Reads(world)
        async with world.watcher():
            assert await world.is_gone(NEO4J)
            assert at(await world.observed(TLS), "digests", "password") is not None
            assert set(reads.counted) == {NEO4J.name, TLS.name, *COPIES, BROUGHT.name}


async def test_when_the_watch_is_refused_everything_is_read(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await _begin(world)
        async with world.watcher():
            pass
        await world.patch(_secret(NATS), {"stringData": {"password": "another"}})
        world.cluster.faults.add(Fault("refuse", frozenset({"watch"}), frozenset({"secrets"}), status=503))
        reads = Reads(world)
        async with world.watcher():
            assert set(reads.counted) == {NEO4J.name, NATS.name, TLS.name, *COPIES, BROUGHT.name}


async def test_everything_is_read_when_the_log_went_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await _begin(world)
        async with world.watcher():
            await world.nats.stop()
            shutil.copytree(world.nats.store, tmp_path / "backup")
            await world.nats.start()
            await world.create(config_map("later"))
            await eventually(lambda: _is_told(world))
            await world.nats.stop()
            shutil.rmtree(world.nats.store)
            shutil.copytree(tmp_path / "backup", world.nats.store)
            reads = Reads(world)
            await world.nats.start()
            await eventually(lambda: _is_told(world))
            await eventually(lambda: _has_read(reads, {NEO4J.name, NATS.name, TLS.name, *COPIES, BROUGHT.name}))


async def _begin(world: World) -> None:
    """A TapioCluster with two Secrets of ours out of six, and one that people brought."""
    await world.create(cluster_document(nats={"external": EXTERNAL}))
    await world.create(_secret(NEO4J))
    await world.create(_secret(NATS))
    await world.create(_secret(BROUGHT, labels={}))


def _secret(ref: ObjectRef, labels: JsonObject | None = None) -> JsonObject:
    metadata: JsonObject = {"name": ref.name, "namespace": ref.namespace}
    metadata["labels"] = labels_of() if labels is None else labels
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "planted"}}


async def _is_told(world: World) -> bool:
    return await world.observed(config_map_ref("later")) is not None


async def _has_read(reads: Reads, names: set[str]) -> bool:
    return set(reads.counted) == names
