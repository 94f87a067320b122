"""What a test can make the simulated API server do wrong, and the record of what was written."""

from __future__ import annotations

import asyncio

import pytest

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.errors import ApiRetryable, ApiUnavailable
from tapio_shared.json import object_at, objects_at, str_at
from tapio_simulator.api import Options
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.faults import Fault
from tests.support.kube_calls import Calls, config_map, next_events

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def calls(cluster: SimulatedCluster) -> Calls:
    return Calls(cluster.kube(), "default")


async def test_a_refusal_does_nothing_and_says_when_to_retry(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("refuse", verbs=frozenset({"create"}), status=429, retry_after=7, times=1))
    reply = await calls.create(PATH, config_map("one"))
    assert (reply.status, reply.reason, reply.headers["retry-after"]) == (429, "TooManyRequests", "7")
    assert (await calls.get(f"{PATH}/one")).status == 404
    assert (await calls.create(PATH, config_map("one"))).status == 201


async def test_a_lost_answer_did_the_work(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("lost-answer", resources=frozenset({"configmaps"}), times=1))
    with pytest.raises(ApiUnavailable, match="connection broke"):
        await calls.create(PATH, config_map("one"))
    assert (await calls.get(f"{PATH}/one")).status == 200


async def test_a_reset_did_not(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("reset", times=1))
    with pytest.raises(ApiUnavailable):
        await calls.create(PATH, config_map("one"))
    assert (await calls.get(f"{PATH}/one")).status == 404


async def test_a_stale_read_shows_the_past(cluster: SimulatedCluster, calls: Calls) -> None:
    await calls.create(PATH, config_map("one", {"a": "old"}))
    await calls.merge(f"{PATH}/one", {"data": {"a": "new"}})
    cluster.faults.add(Fault("stale-read", verbs=frozenset({"get", "list"}), stale_by=1, times=2))
    assert object_at((await calls.get(f"{PATH}/one")).document, "data") == {"a": "old"}
    listed = await calls.get(PATH)
    assert [object_at(item, "data") for item in objects_at(listed.document, "items")] == [{"a": "old"}]
    assert object_at((await calls.get(f"{PATH}/one")).document, "data") == {"a": "new"}


async def test_a_dropped_watch_raises(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("drop-watch", verbs=frozenset({"watch"}), after=(0.01, 0.01)))
    async with calls.kube.watch(PATH, query={}) as lines:
        with pytest.raises(ApiUnavailable, match="broke"):
            await anext(lines)


async def test_a_stalled_watch_is_silent_until_the_client_gives_up(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("stall-watch", verbs=frozenset({"watch"}), after=(0.01, 0.01)))
    async with calls.kube.watch(PATH, query={}, silence=0.05) as lines:
        with pytest.raises(ApiUnavailable, match=r"silent for 0\.05 seconds"):
            await anext(lines)


async def test_a_refused_watch_raises_on_entering(cluster: SimulatedCluster, calls: Calls) -> None:
    cluster.faults.add(Fault("refuse", verbs=frozenset({"watch"}), status=503))
    with pytest.raises(ApiRetryable):
        async with calls.kube.watch(PATH, query={}):
            pass


async def test_delays_add_up_and_time_out(cluster: SimulatedCluster) -> None:
    cluster.faults.add(Fault("delay", seconds=(30.0, 30.0)))
    with pytest.raises(ApiUnavailable, match=r"not answered within 0\.01 seconds"):
        await cluster.kube().request("GET", PATH, timeout=0.01)


async def test_the_same_seed_gives_the_same_faults() -> None:
    async def run() -> list[int]:
        cluster = SimulatedCluster(SystemClock(), SeededRandom(3))
        await cluster.prepare()
        cluster.faults.add(Fault("refuse", verbs=frozenset({"get"}), probability=0.5))
        calls = Calls(cluster.kube(), "default")
        return [(await calls.get(PATH + "/none")).status for _ in range(30)]

    first = await run()
    assert set(first) == {404, 500}
    assert await run() == first


async def test_a_watch_from_forgotten_history_is_expired() -> None:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(3), options=Options(history=8))
    await cluster.prepare()
    calls = Calls(cluster.kube(), "default")
    listed = await calls.get(PATH)
    for number in range(20):
        await calls.create(PATH, config_map(f"c{number}"))
    async with calls.kube.watch(PATH, query={"resourceVersion": listed.version}) as lines:
        (event,) = await next_events(lines, 1)
    assert event["type"] == "ERROR"
    assert (object_at(event, "object")["code"], str_at(event, "object", "reason")) == (410, "Expired")


async def test_a_slow_watcher_is_expired_instead_of_buffered() -> None:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(3), options=Options(history=8))
    await cluster.prepare()
    calls = Calls(cluster.kube(), "default")
    listed = await calls.get(PATH)
    async with calls.kube.watch(PATH, query={"resourceVersion": listed.version}) as lines:
        for number in range(20):
            await calls.create(PATH, config_map(f"c{number}"))
        (event,) = await next_events(lines, 1)
    assert (event["type"], object_at(event, "object")["code"]) == ("ERROR", 410)


async def test_an_expired_page_can_not_be_continued(cluster: SimulatedCluster, calls: Calls) -> None:
    for number in range(3):
        await calls.create(PATH, config_map(f"c{number}"))
    first = await calls.get(PATH, limit="1")
    await calls.create(PATH, config_map("later"))
    cluster.api.store.compact()
    token = str_at(first.document, "metadata", "continue")
    reply = await calls.get(PATH, limit="1", **{"continue": token})
    assert (reply.status, reply.reason) == (410, "Expired")


async def test_a_streaming_list_ends_with_a_bookmark(calls: Calls) -> None:
    await calls.create(PATH, config_map("one"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with calls.kube.watch(PATH, query=query) as lines:
        added, bookmark = await anext(lines), await anext(lines)
    assert b'"type":"ADDED"' in added
    assert b'"type":"BOOKMARK"' in bookmark
    assert b'"k8s.io/initial-events-end":"true"' in bookmark


async def test_the_write_log_tells_what_had_an_effect(cluster: SimulatedCluster, calls: Calls) -> None:
    mark = cluster.writes.total
    await calls.apply(f"{PATH}/one", config_map("one", {"a": "1"}), "tapio")
    await calls.apply(f"{PATH}/one", config_map("one", {"a": "1"}), "tapio")
    await calls.apply(f"{PATH}/one", config_map("one", {"a": "2"}), "tapio", dryRun="All")
    await calls.delete(f"{PATH}/one")
    await calls.delete(f"{PATH}/one")
    seen = [(write.verb, write.status, write.effective) for write in cluster.writes.since(mark)]
    assert seen == [
        ("apply", 201, True),
        ("apply", 200, False),
        ("apply", 200, False),
        ("delete", 200, True),
        ("delete", 404, False),
    ]
    first = cluster.writes.since(mark)[0]
    assert (first.resource, first.namespace, first.name) == ("configmaps", "default", "one")
    assert (first.field_manager, first.user) == ("tapio", "kubernetes-admin")


async def test_concurrent_writers_lose_nothing(calls: Calls) -> None:
    await calls.create(PATH, config_map("one"))
    await asyncio.gather(*(calls.merge(f"{PATH}/one", {"data": {f"k{n}": "x"}}) for n in range(20)))
    assert len(object_at((await calls.get(f"{PATH}/one")).document, "data")) == 20
