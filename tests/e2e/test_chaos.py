"""Services and nats-server die at any moment, the log is lost, everything restarts: clusters converge all the same.

What counts as a write is asked of the simulator's write log or of the API server's audit log, never of the operator.
"""

from __future__ import annotations

import asyncio
import json
import random
import re

import pytest

from tapio_shared.json import objects_at, str_at, strings_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import all_managed, managed_objects, small_cluster
from tests.support.facts_and_objects import differences, has_gaps
from tests.support.operator_run import OperatorRun

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(280)]
_CLUSTERS = 50
_CRASHES = 8
_WRITES_BETWEEN = 150
"""A cluster takes some 25 writes, so that all crashes fall into the roll-out."""


async def roll_out(kubernetes: Kubernetes, namespace: str, count: int) -> list[str]:
    """Create `count` TapioClusters at once; answers their names."""
    names = [f"c{number}" for number in range(count)]
    stream = "\n---\n".join(json.dumps(small_cluster(name)) for name in names)
    await kubernetes.kubectl.run("apply", "-n", namespace, "-f", "-", stdin=stream.encode())
    return names


async def shapes(kubernetes: Kubernetes, namespace: str) -> dict[str, list[str]]:
    """TapioCluster -> the names of its objects, without what differs between two: their name, and hashes of it."""
    found: dict[str, list[str]] = {}
    for one in await all_managed(kubernetes, namespace):
        owner = strings_at(one, "metadata", "labels")["tapio.io/cluster"]
        name = re.sub("-[0-9a-f]{8}$", "-HASH", re.sub(f"\\b{owner}\\b", "NAME", str_at(one, "metadata", "name")))
        found.setdefault(owner, []).append(f"{str_at(one, 'kind')}/{str_at(one, 'metadata', 'namespace')}/{name}")
    return {owner: sorted(names) for owner, names in found.items()}


async def until_all_ready(kubernetes: Kubernetes, namespace: str, count: int, *, seconds: float = 120.0) -> None:
    """Wait until `count` TapioClusters are Ready."""

    async def all_ready() -> bool:
        return await how_many_ready(kubernetes, namespace) == count

    await kubernetes.until(all_ready, seconds=seconds)


async def how_many_ready(kubernetes: Kubernetes, namespace: str) -> int:
    """How many TapioClusters are Ready."""
    listed = await kubernetes.kubectl.document("get", "tapioclusters", "-n", namespace)
    conditions = [
        {str_at(one, "type"): str_at(one, "status") for one in objects_at(item, "status", "conditions")}
        for item in objects_at(listed, "items")
    ]
    return sum(1 for one in conditions if one.get("Ready") == "True")


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


async def test_restarting_everything_when_converged_writes_nothing(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    await roll_out(kubernetes, namespace, 3)
    await until_all_ready(kubernetes, namespace, 3)
    await operator.settled()
    position = await kubernetes.witness.position()

    await operator.restart_all()
    # The probe is planned and Ready: the operator works again, and everything known was planned before that.
    await kubernetes.apply(small_cluster("probe"), namespace)
    await until_all_ready(kubernetes, namespace, 4)

    written = [one for one in await kubernetes.operator_writes(position) if "probe" not in one.name]
    assert written == []


async def test_losing_the_whole_log_deletes_and_changes_nothing(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    names = await roll_out(kubernetes, namespace, 3)
    await until_all_ready(kubernetes, namespace, 3)
    before = [await managed_objects(kubernetes, name, namespace) for name in names]
    await operator.settled()
    position = await kubernetes.witness.position()

    await operator.lose_log()
    await kubernetes.apply(small_cluster("probe"), namespace)
    await until_all_ready(kubernetes, namespace, 4)
    await operator.until_ready()

    written = [one for one in await kubernetes.operator_writes(position) if "probe" not in one.name]
    # Saying Resynchronising, and Ready again, is a status; no object may be touched.
    assert [one for one in written if one.subresource != "status" and one.resource.partition(".")[0] != "events"] == []
    assert [await managed_objects(kubernetes, name, namespace) for name in names] == before
