"""The log holds what the cluster holds: at the start, while it changes, and after outages."""

from __future__ import annotations

from pathlib import Path

from tapio_shared.api.labels import DESIRED_HASH, MANAGED_BY
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import (
    ConfigurationObserved,
    DiscoveryObserved,
    FleetObserved,
    ObjectGone,
    ObjectObserved,
    Synced,
)
from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject, shared_subject
from tapio_shared.ports import NewMessage
from tapio_simulator.faults import Fault
from tests.integration.watcher.world import (
    CLUSTER,
    PARTITIONS,
    TARGET,
    Watched,
    World,
    cluster_document,
    config_map,
    config_map_ref,
    labels_of,
)
from tests.support.eventually import eventually


async def shared(world: World, what: str, partition: int = 0) -> object:
    message = await world.log.last(shared_subject(partition, TARGET, what))
    return None if message is None else decode_record(message.data)


async def test_the_first_list_is_durable_before_every_partition_is_told_that_it_is(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        await world.create(config_map(answer="42"))
        async with world.watcher():
            messages = await world.messages()
    facts = [message.sequence for message in messages if ".object." in message.subject]
    synced = {message.subject: message.sequence for message in messages if message.subject.endswith(".synced")}
    assert len(facts) == 8  # the TapioCluster, the ConfigMap, and that none of six generated Secrets exists
    assert set(synced) == {shared_subject(number, TARGET, "synced") for number in range(PARTITIONS)}
    assert min(synced.values()) > max(facts)


async def test_shared_facts_stand_in_every_partition(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.watcher():
        for partition in range(PARTITIONS):
            assert isinstance(await shared(world, "fleet", partition), FleetObserved)
            assert isinstance(await shared(world, "discovery", partition), DiscoveryObserved)
            configuration = await shared(world, "config", partition)
            assert isinstance(configuration, ConfigurationObserved)
            assert configuration.configuration["reconcileInterval"] == "1s"
            synced = await shared(world, "synced", partition)
            assert isinstance(synced, Synced)
            assert "TapioCluster.tapio.io" in synced.kinds


async def test_changes_and_deletions_are_told(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        async with world.watcher():
            await world.create(config_map(answer="42"))
            await eventually(lambda: _data_is(world, {"answer": "42"}))
            await world.patch(config_map(), {"data": {"answer": "43"}})
            await eventually(lambda: _data_is(world, {"answer": "43"}))
            await world.delete(config_map())
            await eventually(lambda: world.is_gone(config_map_ref()))


async def test_an_object_without_our_labels_is_nobodys(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher():
            await world.patch(config_map(), {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
            await eventually(lambda: world.is_gone(config_map_ref()))


async def test_what_was_made_is_told_of_whoever_is_said_to_manage_it(tmp_path: Path) -> None:
    made = config_map(answer="42")
    object_at(made, "metadata")["annotations"] = {DESIRED_HASH: "h"}
    async with World(tmp_path) as world:
        await world.create(made)
        async with world.watcher():
            await world.patch(config_map(), {"metadata": {"labels": {MANAGED_BY: "Helm"}}})
            await eventually(lambda: _label_is(world, MANAGED_BY, "Helm"))
        async with world.watcher():
            assert await world.observed(config_map_ref()) is not None


async def test_an_object_that_moves_to_another_cluster_leaves_a_tombstone(tmp_path: Path) -> None:
    other = OrderingKey(TARGET, "default", "other")
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher():
            await world.patch(config_map(), {"metadata": {"labels": labels_of("other")}})
            await eventually(lambda: _exists(world, config_map_ref(), other))
            await eventually(lambda: world.is_gone(config_map_ref()))


async def test_what_is_deleted_while_nobody_watches_is_found_by_the_next_list(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map("kept"))
        await world.create(config_map("deleted"))
        async with world.watcher():
            pass
        await world.delete(config_map("deleted"))
        async with world.watcher():
            assert await world.is_gone(config_map_ref("deleted"))
            assert await world.observed(config_map_ref("kept")) is not None


async def test_an_object_made_anew_while_nobody_watches_ends_the_former_one_first(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        former = await world.create(config_map(answer="42"))
        async with world.watcher():
            pass
        await world.delete(config_map())
        present = await world.create(config_map(answer="42"))
        async with world.watcher():
            subject = object_subject(CLUSTER, config_map_ref(), PARTITIONS)
            records = [decode_record(message.data) for message in await world.messages(subject)]
    assert [(type(one), _uid(one)) for one in records] == [
        (ObjectObserved, str_at(former, "metadata", "uid")),
        (ObjectGone, str_at(former, "metadata", "uid")),
        (ObjectObserved, str_at(present, "metadata", "uid")),
    ]


async def test_a_restart_publishes_nothing_when_nothing_changed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        await world.create(config_map(answer="42"))
        async with world.watcher():
            before = (await world.log.info()).last_sequence
        async with world.watcher() as watched:
            assert await world.messages("tapio.log.>", from_sequence=before + 1) == []
            assert watched.count("facts_published_total", type="ObjectObserved") == 0


async def test_a_version_that_is_too_old_means_a_new_list(tmp_path: Path) -> None:
    watches, resource = frozenset({"watch"}), frozenset({"configmaps"})
    async with World(tmp_path) as world:
        await world.create(config_map("kept"))
        await world.create(config_map("deleted"))
        world.cluster.faults.add(Fault("drop-watch", watches, resource, times=2, after=(0.5, 0.5)))
        world.cluster.faults.add(Fault("refuse", watches, resource, status=410, times=2))
        async with world.watcher() as watched:
            await world.delete(config_map("deleted"))
            await eventually(lambda: world.is_gone(config_map_ref("deleted")))
            await eventually(lambda: _at_least(watched, 4, "relists_total", kind="ConfigMap"))
            assert await world.observed(config_map_ref("kept")) is not None


async def test_a_server_without_streaming_lists_is_asked_for_pages(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for number in range(501):
            await world.create(config_map(f"settings-{number}", cluster=f"c{number}"))
        world.cluster.faults.add(Fault("refuse", frozenset({"watch"}), frozenset({"configmaps"}), status=422, times=2))
        async with world.watcher():
            for number in (0, 500):
                key = OrderingKey(TARGET, "default", f"c{number}")
                assert await world.observed(config_map_ref(f"settings-{number}"), key) is not None
            await world.delete(config_map("settings-0"))
            await eventually(lambda: world.is_gone(config_map_ref("settings-0"), OrderingKey(TARGET, "default", "c0")))


async def test_a_watch_that_says_nothing_is_found_by_comparison(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        stalled = Fault("stall-watch", frozenset({"watch"}), frozenset({"configmaps"}))
        world.cluster.faults.add(stalled)
        await world.create(config_map(answer="42"))
        async with world.watcher() as watched:
            world.cluster.faults.clear()
            await world.patch(config_map(), {"data": {"answer": "43"}})
            await eventually(lambda: _data_is(world, {"answer": "43"}))
            assert watched.count("found_by_comparison_total", kind="ConfigMap") >= 1


async def test_a_kind_that_is_installed_later_is_followed_and_told(tmp_path: Path) -> None:
    ref = ObjectRef("monitoring.coreos.com", "ServiceMonitor", "default", "nats")
    async with World(tmp_path) as world, world.watcher():
        synced = await shared(world, "synced")
        assert isinstance(synced, Synced)
        assert "ServiceMonitor.monitoring.coreos.com" not in synced.kinds
        await world.create(_service_monitor_crd())
        await eventually(lambda: _creates(world, _service_monitor()))
        await eventually(lambda: _exists(world, ref))
        await eventually(lambda: _is_told(world, "ServiceMonitor.monitoring.coreos.com"))


async def test_whoever_wrote_first_the_object_itself_is_read_and_published(tmp_path: Path) -> None:
    subject = object_subject(CLUSTER, config_map_ref(), PARTITIONS)
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher() as watched:
            last = await world.log.last(subject)
            assert last is not None
            await world.log.append(NewMessage(subject=subject, data=last.data.replace(b'"42"', b'"wrong"')))
            await world.patch(config_map(), {"data": {"answer": "43"}})
            await eventually(lambda: _data_is(world, {"answer": "43"}))
            assert watched.count("conflicts_total") == 1


async def test_an_unreadable_message_is_parked_and_the_object_told_again(tmp_path: Path) -> None:
    subject = object_subject(CLUSTER, config_map_ref(), PARTITIONS)
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        await world.log.append(NewMessage(subject=subject, data=b'{"type":"FromTheFuture"}'))
        async with world.watcher() as watched:
            assert watched.count("parked_messages_total") == 1
            assert await _data_is(world, {"answer": "42"})


async def test_an_unreadable_message_about_what_does_not_exist_is_replaced_by_its_end(tmp_path: Path) -> None:
    subject = object_subject(CLUSTER, config_map_ref(), PARTITIONS)
    async with World(tmp_path) as world:
        await world.log.append(NewMessage(subject=subject, data=b"garbage"))
        async with world.watcher():
            assert await world.is_gone(config_map_ref())


async def test_a_wrong_configuration_is_told_and_the_last_good_one_stays(tmp_path: Path) -> None:
    async def wrong_one_is_told() -> bool:
        fact = await shared(world, "config")
        assert isinstance(fact, ConfigurationObserved)
        assert fact.configuration["reconcileInterval"] == "1s"
        return len(fact.problems) == 1 and "reconcileInterval" in fact.problems[0]

    async with World(tmp_path) as world:
        async with world.watcher():
            await world.configure("reconcileInterval: soon\n")
            await eventually(wrong_one_is_told)
        async with world.watcher():
            assert await wrong_one_is_told()


async def test_two_writers_of_one_subject_never_overwrite_each_other_unseen(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map(answer="-1"))
        async with world.watcher(), world.watcher():
            for number in range(20):
                await world.patch(config_map(), {"data": {"answer": str(number)}})
            await eventually(lambda: _data_is(world, {"answer": "19"}))
        subject = object_subject(CLUSTER, config_map_ref(), PARTITIONS)
        last = await world.log.last(subject)
        assert last is not None
        records = [decode_record(message.data) for message in await world.messages(subject)]
        answers = [int(str_at(one.object, "data", "answer")) for one in records if isinstance(one, ObjectObserved)]
        assert answers == sorted(answers)


async def _at_least(watched: Watched, least: float, name: str, **labels: str) -> bool:
    return watched.count(name, **labels) >= least


def _uid(record: object) -> str:
    return record.uid if isinstance(record, ObjectObserved | ObjectGone) else ""


async def _data_is(world: World, data: dict[str, str]) -> bool:
    document = await world.observed(config_map_ref())
    return document is not None and document.get("data") == data


async def _label_is(world: World, name: str, value: str) -> bool:
    return strings_at(await world.observed(config_map_ref()) or {}, "metadata", "labels").get(name) == value


async def _exists(world: World, ref: ObjectRef, key: OrderingKey = CLUSTER) -> bool:
    return await world.observed(ref, key) is not None


async def _is_told(world: World, kind: str) -> bool:
    synced = await shared(world, "synced")
    return isinstance(synced, Synced) and kind in synced.kinds


async def _creates(world: World, document: JsonObject) -> bool:
    path = "/apis/monitoring.coreos.com/v1/namespaces/default/servicemonitors"
    return (await world.kube.request("POST", path, body=encode(document))).status == 201


def _service_monitor() -> JsonObject:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "nats", "namespace": "default", "labels": labels_of()},
        "spec": {},
    }


def _service_monitor_crd() -> JsonObject:
    schema: JsonObject = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version: JsonObject = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
            "versions": [version],
        },
    }
