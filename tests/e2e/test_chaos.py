"""Services and nats-server die at any moment, the log is lost or overflows: clusters converge all the same.

What counts as a write is asked of the simulator's write log or of the API server's audit log, never of the operator.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import msgspec
import pytest

from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.provisioning import log_config
from tapio_shared.codec import decode_as, encode
from tapio_shared.facts import ObjectObserved
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import LOG_STREAM, ObjectRef, OrderingKey, object_subject
from tapio_shared.kubernetes import object_path
from tapio_shared.ports import NewMessage
from tests.support.e2e_kubernetes import Kubernetes, SeenWrite
from tests.support.e2e_objects import all_managed, small_cluster
from tests.support.e2e_roll_outs import how_many_ready, roll_out, until_all_ready
from tests.support.facts_and_objects import differences, has_gaps
from tests.support.operator_run import PARTITIONS, WATCHER, OperatorRun


class JsonAnswer(msgspec.Struct):
    """An answer of JetStream's API of which nothing is wanted but that it is no error."""


pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(280)]
_CLUSTERS = 50
_CRASHES = 8
_NOISE = 100_000
"""Bytes of one message that helps to fill the log; random, so that compression does not make it small."""
_WRITES_BETWEEN = 150
"""A cluster takes some 25 writes, so that all crashes fall into the roll-out."""


async def shapes(kubernetes: Kubernetes, namespace: str) -> dict[str, list[str]]:
    """TapioCluster -> the names of its objects, without what differs between two: their name, and hashes of it."""
    found: dict[str, list[str]] = {}
    for one in await all_managed(kubernetes, namespace):
        owner = strings_at(one, "metadata", "labels")["tapio.io/cluster"]
        name = re.sub("-[0-9a-f]{8}$", "-HASH", re.sub(f"\\b{owner}\\b", "NAME", str_at(one, "metadata", "name")))
        found.setdefault(owner, []).append(f"{str_at(one, 'kind')}/{str_at(one, 'metadata', 'namespace')}/{name}")
    return {owner: sorted(names) for owner, names in found.items()}


@pytest.mark.parametrize("seed", [pytest.param(7, id="seed 7")])
async def test_a_roll_out_survives_kill_9_of_everything(operator: OperatorRun, namespace: str, seed: int) -> None:
    kubernetes, choices = operator.kubernetes, random.Random(seed)
    await kubernetes.apply(small_cluster("calm"), namespace)
    await until_all_ready(kubernetes, namespace, 1)
    expected = (await shapes(kubernetes, namespace))["calm"]

    rolling = asyncio.create_task(roll_out(kubernetes, namespace, _CLUSTERS))
    victims = ["watcher", "nats", *operator.workers]
    for victim in [*victims, *choices.choices(victims, k=_CRASHES - len(victims))]:
        # Each crash comes after a random number of further writes: at another moment of the roll-out.
        position, more = await kubernetes.witness.position(), choices.randrange(1, _WRITES_BETWEEN)

        async def has_moved_on(since: int = position, count: int = more) -> bool:
            if len(await kubernetes.operator_writes(since)) >= count:
                return True
            return await how_many_ready(kubernetes, namespace) == _CLUSTERS + 1

        await kubernetes.until(has_moved_on)
        await operator.crash(victim)
    names = await rolling

    await until_all_ready(kubernetes, namespace, _CLUSTERS + 1)
    await operator.until_ready()
    assert await shapes(kubernetes, namespace) == dict.fromkeys(["calm", *names], expected), "an object is doubled"
    await operator.settled()
    assert await differences(operator, namespace) == [], "a fact is lost"
    assert not await has_gaps(operator)


async def test_losing_the_whole_log_deletes_and_changes_nothing(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    names = await roll_out(kubernetes, namespace, _CLUSTERS)
    await until_all_ready(kubernetes, namespace, _CLUSTERS)
    before = await all_managed(kubernetes, namespace)
    await operator.settled()
    position = await kubernetes.witness.position()

    async with ready_reasons(kubernetes, namespace, names) as reasons:
        await operator.lose_log()
        await kubernetes.apply(small_cluster("probe"), namespace)
        await until_all_ready(kubernetes, namespace, _CLUSTERS + 1)
    await operator.until_ready()

    # Whoever was planned before the new log was complete says so; nobody ever says that something is not ready.
    assert set[str]().union(*(reasons[name] for name in names)) == {"AllReady", "Resynchronising"}
    assert await wrong_writes(kubernetes, position) == []
    assert without_probe(await all_managed(kubernetes, namespace)) == before
    await operator.settled()
    assert await differences(operator, namespace) == []


async def test_filling_the_log_deletes_and_changes_nothing(operator: OperatorRun, namespace: str) -> None:
    """Ten times what the log may hold, as fast as it goes: what is live is swept, or observed again."""
    kubernetes = operator.kubernetes
    names = await roll_out(kubernetes, namespace, 10)
    await until_all_ready(kubernetes, namespace, 10)
    before = await all_managed(kubernetes, namespace)
    await operator.settled()
    position = await kubernetes.witness.position()

    async with small_log(operator, times=3) as (log, limit):
        await fill(log, namespace, 10 * limit)
        await kubernetes.apply(small_cluster("probe"), namespace)
        await until_all_ready(kubernetes, namespace, len(names) + 1)
        await operator.until_ready()
        assert await wrong_writes(kubernetes, position) == []
        assert without_probe(await all_managed(kubernetes, namespace)) == before

        async def tells_the_truth() -> bool:
            return not await differences(operator, namespace)

        await kubernetes.until(tells_the_truth)


async def test_what_the_log_has_dropped_is_told_again_before_anything_is_planned(
    operator: OperatorRun, namespace: str
) -> None:
    """Nobody sweeps while the log is filled, and whoever knew what it held is gone: it tells of nobody any more."""
    kubernetes = operator.kubernetes
    names = await roll_out(kubernetes, namespace, 10)
    await until_all_ready(kubernetes, namespace, 10)
    before = await all_managed(kubernetes, namespace)
    await operator.settled()
    position = await kubernetes.witness.position()
    await operator[WATCHER].kill()

    async with ready_reasons(kubernetes, namespace, names) as reasons, small_log(operator, times=2) as (log, limit):
        told = (await log.info()).last_sequence
        await fill(log, namespace, 2 * limit)
        assert (await log.info()).first_sequence > told, "something that was told is still there"
        for worker in operator.workers:
            await operator.crash(worker)
        await kubernetes.apply(small_cluster("probe"), namespace)
        await operator[WATCHER].start()
        await until_all_ready(kubernetes, namespace, len(names) + 1)
        await operator.until_ready()
    assert set[str]().union(*(reasons[name] for name in names)) == {"AllReady", "Resynchronising"}
    assert await wrong_writes(kubernetes, position) == []
    assert without_probe(await all_managed(kubernetes, namespace)) == before
    await operator.settled()
    assert await differences(operator, namespace) == []


async def fill(log: NatsEventLog, namespace: str, size: int) -> None:
    """Append `size` bytes that concern nobody, and see that they push something out."""
    key = OrderingKey("local", namespace, "noise")
    subject = object_subject(key, ObjectRef("", "ConfigMap", namespace, "noise"), PARTITIONS)
    for number in range(size // _NOISE):
        noise = base64.b64encode(random.Random(number).randbytes(_NOISE * 3 // 4)).decode()
        fact = ObjectObserved(uid="u", resource_version=str(number), object={"noise": noise}, observed_at=number)
        await log.append(NewMessage(subject, encode(fact)))
    assert (await log.info()).first_sequence > 1, "nothing was ever pushed out"


@asynccontextmanager
async def small_log(operator: OperatorRun, *, times: int) -> AsyncGenerator[tuple[NatsEventLog, int]]:
    """The log, and the bytes it may hold meanwhile: as many times what it holds now."""
    connection = await NatsConnection.connect([operator.nats.url], name="test")
    try:
        log = NatsEventLog(connection)
        info = await log.info()
        limit = times * info.bytes
        days = int(info.max_age)
        make = partial(log_config, PARTITIONS, 1, max_age=days * 1_000_000_000)
        await connection.api(f"STREAM.UPDATE.{LOG_STREAM}", make(max_bytes=limit), JsonAnswer)
        yield log, limit
        await connection.api(f"STREAM.UPDATE.{LOG_STREAM}", make(max_bytes=info.max_bytes), JsonAnswer)
    finally:
        await connection.close()


@asynccontextmanager
async def ready_reasons(
    kubernetes: Kubernetes, namespace: str, names: Collection[str]
) -> AsyncGenerator[dict[str, set[str]]]:
    """TapioCluster -> every reason that its condition Ready has had meanwhile, as a watch tells it.

    Begins when the watch has told of all `names`; an error of the watch is the test's. It begins with
    version 0, that is with what exists: without one, Kubernetes 1.36 tells changes alone.
    """
    reasons: dict[str, set[str]] = {}
    has_all = asyncio.Event()

    async def collect() -> None:
        path = object_path("tapio.io", "v1alpha1", "tapioclusters", namespace)
        async with await HttpKube.connect(kubeconfig=str(kubernetes.kubeconfig)) as kube:
            while True:  # A server may end a watch whenever it likes.
                async with kube.watch(
                    path, query={"resourceVersion": "0", "timeoutSeconds": "600"}, silence=600
                ) as lines:
                    async for line in lines:
                        tell(object_at(cast("JsonObject", decode_as(dict, line)), "object"))

    def tell(seen: JsonObject) -> None:
        for one in objects_at(seen, "status", "conditions"):
            if str_at(one, "type") == "Ready":
                reasons.setdefault(str_at(seen, "metadata", "name"), set()).add(str_at(one, "reason"))
        if reasons.keys() >= set(names):
            has_all.set()

    async with asyncio.TaskGroup() as group:
        collecting = group.create_task(collect())
        await has_all.wait()
        yield reasons
        collecting.cancel()


async def wrong_writes(kubernetes: Kubernetes, since: int) -> list[SeenWrite]:
    """Writes of the operator to anything but the probe: Resynchronising, and Ready again, is a status; no more."""
    written = [one for one in await kubernetes.operator_writes(since) if "probe" not in one.name]
    return [one for one in written if one.subresource != "status" and one.resource.partition(".")[0] != "events"]


def without_probe(documents: list[JsonObject]) -> list[JsonObject]:
    """What belongs to the other TapioClusters."""
    return [one for one in documents if strings_at(one, "metadata", "labels")["tapio.io/cluster"] != "probe"]
