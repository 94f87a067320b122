"""An Event about refused pods becomes one fact of its workload's cluster, for as long as it is the last word."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tapio_shared.codec import decode_as, encode
from tapio_shared.facts import ObjectGone
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, object_subject
from tapio_shared.kubernetes import check
from tapio_watcher import refusal_sink
from tests.integration.watcher.world import CLUSTER, PARTITIONS, World, cluster_document, labels_of
from tests.support.eventually import eventually

REFUSAL = ObjectRef("tapio.io", "Refusal", "default", "StatefulSet-tapio-nats")
STATEFUL_SETS = "/apis/apps/v1/namespaces/default/statefulsets"
EVENTS = "/api/v1/namespaces/default/events"
QUOTA = "exceeded quota: q, requested: pods=1, limited: pods=1"


async def send(world: World, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    data = None if body is None else encode(body)
    return cast(
        "JsonObject", decode_as(dict, check(await world.kube.request(method, path, body=data, content_type=kind)))
    )


async def stateful_set(world: World, name: str = "tapio-nats", *, managed: bool = True) -> str:
    """A StatefulSet that nobody makes pods for; answers its UID."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "example.com/nats:1"}]},
    }
    metadata = {"name": name, "namespace": "default", "labels": labels_of() if managed else {}}
    document = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {"serviceName": name, "selector": {"matchLabels": {"app": name}}, "template": template},
    }
    return str_at(await send(world, "POST", STATEFUL_SETS, cast("JsonObject", document)), "metadata", "uid")


def event(name: str, uid: str, at: str, *, of: str = "tapio-nats", message: str = "") -> JsonObject:
    text = f'Create Pod {of}-0 in StatefulSet {of} failed error: pods "{of}-0" is forbidden: ' + (message or QUOTA)
    involved = {"kind": "StatefulSet", "namespace": "default", "name": of, "uid": uid, "apiVersion": "apps/v1"}
    return cast(
        "JsonObject",
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": involved,
            "reason": "FailedCreate",
            "type": "Warning",
            "message": text,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        },
    )


def pod() -> JsonObject:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "tapio-nats", "uid": "s-1", "controller": True}
    metadata = {"name": "tapio-nats-0", "namespace": "default", "labels": labels_of(), "ownerReferences": [owner]}
    spec = {"containers": [{"name": "main", "image": "example.com/nats:1"}]}
    return cast("JsonObject", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


async def is_told(world: World, message: str) -> bool:
    return str_at(await world.observed(REFUSAL), "message") == message


async def facts(world: World) -> int:
    """How many facts about the refusal there ever were."""
    return len(await world.messages(object_subject(CLUSTER, REFUSAL, PARTITIONS)))


async def test_a_refusal_is_told_until_a_pod_is_made(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.watcher():
        uid = await stateful_set(world)
        await send(world, "POST", EVENTS, event("e-1", uid, "2020-01-01T00:00:00Z"))
        await eventually(lambda: is_told(world, QUOTA))

        await world.create(pod())

        await eventually(lambda: world.is_gone(REFUSAL))


async def test_counting_an_event_up_is_no_fact_and_another_reason_is_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.watcher():
        uid = await stateful_set(world)
        await send(world, "POST", EVENTS, event("e-1", uid, "2020-01-01T00:00:00Z"))
        await eventually(lambda: is_told(world, QUOTA))
        for count in range(2, 30):
            again: JsonObject = {"count": count, "lastTimestamp": f"2020-01-01T00:00:{count:02}Z"}
            await send(world, "PATCH", f"{EVENTS}/e-1", again)

        await send(world, "POST", EVENTS, event("e-2", uid, "2020-01-01T00:01:00Z", message="no"))
        await eventually(lambda: is_told(world, "no"))
        assert await facts(world) == 2

        await send(world, "DELETE", f"{EVENTS}/e-1")  # the older one expires first: it was not the last word
        await send(world, "DELETE", f"{EVENTS}/e-2")
        await eventually(lambda: world.is_gone(REFUSAL))
        assert await facts(world) == 3


async def test_what_was_refused_is_judged_whole_after_a_restart(tmp_path: Path) -> None:
    """Events of before the newest pod, of a former workload of that name and of other people's are nobody's word."""
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        uid = await stateful_set(world)
        other = await stateful_set(world, "theirs", managed=False)
        await world.create(pod())
        await send(world, "POST", EVENTS, event("of-before", uid, "2020-01-01T00:00:00Z"))
        await send(world, "POST", EVENTS, event("of-a-former-one", "another-uid", "2999-01-01T00:00:00Z"))
        await send(world, "POST", EVENTS, event("theirs", other, "2999-01-01T00:00:00Z", of="theirs"))
        async with world.watcher():
            await send(world, "POST", EVENTS, event("told", uid, "2999-01-01T00:00:01Z", message="told"))
            await eventually(lambda: is_told(world, "told"))
        told = [one for one in await world.messages() if b'"Refusal"' in one.data]
        assert [one.subject for one in told] == [object_subject(CLUSTER, REFUSAL, PARTITIONS)]

        await send(world, "DELETE", f"{EVENTS}/told")  # while nobody watches
        async with world.watcher():
            await eventually(lambda: world.is_gone(REFUSAL))
        assert isinstance(await world.last(REFUSAL), ObjectGone)


async def test_what_is_followed_no_more_is_told_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other people's refusals may be many; a bound keeps them out of memory, and nothing stale in the log."""
    monkeypatch.setattr(refusal_sink, "MOST_KEPT", 2)
    async with World(tmp_path) as world, world.watcher():
        uid = await stateful_set(world)
        await send(world, "POST", EVENTS, event("e-1", uid, "2020-01-01T00:00:00Z"))
        await eventually(lambda: is_told(world, QUOTA))

        for number in range(2):
            await send(world, "POST", EVENTS, event(f"o-{number}", "u", "2020-01-01T00:00:01Z", of=f"other-{number}"))
        await eventually(lambda: world.is_gone(REFUSAL))

        await send(world, "PATCH", f"{EVENTS}/e-1", {"count": 2, "lastTimestamp": "2020-01-01T00:00:02Z"})
        await eventually(lambda: is_told(world, QUOTA))


async def test_a_workload_that_is_deleted_takes_its_refusal_with_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.watcher():
        uid = await stateful_set(world)
        await send(world, "POST", EVENTS, event("e-1", uid, "2020-01-01T00:00:00Z"))
        await eventually(lambda: is_told(world, QUOTA))

        await send(world, "DELETE", f"{STATEFUL_SETS}/tapio-nats")

        await eventually(lambda: world.is_gone(REFUSAL))
