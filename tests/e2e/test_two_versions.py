"""Two releases side by side, the newer one with records that the older one would misread; and the way back.

The newer release is this code with a planted format (tests/support/newer_release.py), as processes of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.codec import decode_record
from tapio_shared.errors import NewerFormat
from tapio_shared.facts import FORMAT
from tests.support.e2e_kubernetes import simulated_kubernetes
from tests.support.e2e_objects import small_cluster
from tests.support.e2e_roll_outs import roll_out, until_all_ready
from tests.support.eventually import eventually
from tests.support.operator_run import WATCHER, OperatorRun, start_operator

_NAMESPACE = "default"
_KINDS = "statefulset,deployment,daemonset,service,configmap"
_CLUSTERS = 4
_NEWER_RELEASE = "tests.support.newer_release"
_READS = f"of format {FORMAT + 1}, and this version reads formats up to {FORMAT}. Run the version that wrote it"


@asynccontextmanager
async def operator(directory: Path) -> AsyncGenerator[OperatorRun]:
    async with (
        simulated_kubernetes(directory) as kubernetes,
        start_operator(kubernetes, directory, workers=2, webhook=False, keep_history=False) as run,
    ):
        yield run


async def how_many_newer(run: OperatorRun, subjects: str) -> int:
    """How many messages only the newer release reads."""
    connection = await NatsConnection.connect([run.nats.url], name="test")
    try:
        log, found = NatsEventLog(connection), 0
        for message in (await log.last_per_subject(subjects)).messages:
            try:
                decode_record(message.data)
            except NewerFormat:
                found += 1
        return found
    finally:
        await connection.close()


async def is_outdated(run: OperatorRun, name: str) -> bool:
    return "tapio_reconciler_outdated 1.0" in await run[name].metrics()


async def conditions(run: OperatorRun, kind: str) -> set[tuple[str, str]]:
    """Status and reason of a condition of every TapioCluster."""
    names = [f"c{number}" for number in range(_CLUSTERS)]
    return {(await run.kubernetes.condition(name, kind, _NAMESPACE))[:2] for name in names}


@pytest.mark.timeout(280)
async def test_an_older_worker_owns_nothing_that_a_newer_one_recorded_until_it_is_gone(tmp_path: Path) -> None:
    async with operator(tmp_path) as run:
        kubernetes, older = run.kubernetes, list(run.workers)
        await roll_out(kubernetes, _NAMESPACE, _CLUSTERS)
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS)

        # A roll-out begins: side by side, each owns what it can read.
        newer = "reconciler-newer"
        await run.add_worker(newer, release=_NEWER_RELEASE)

        async def newer_one_decides() -> bool:
            return await how_many_newer(run, "tapio.epoch.*") > 0

        await eventually(newer_one_decides)
        for name in older:
            await run[name].until_ready()
        await roll_out(kubernetes, _NAMESPACE, _CLUSTERS, nats={"podLabels": {"round": "one"}})
        await run.settled()
        assert await how_many_newer(run, "tapio.log.*.*.*.*.decision") > 0
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS)

        # The newer one dies: its partitions come to the older ones, which refuse them and say why.
        await run[newer].kill()
        for name in older:
            await eventually(partial(is_outdated, run, name), seconds=60)
            refused = [
                line for line in run.lines("this version is too old for the log") if f'"worker": "{name}"' in line
            ]
            assert len(refused) == 1
            assert "was last owned by a newer version of the operator" in refused[0]
            assert _READS in refused[0]
        await run.settled()
        position = await kubernetes.witness.position()
        await kubernetes.kubectl.run("delete", "service", "c0-nats", "c1-nats", "-n", _NAMESPACE)
        await roll_out(kubernetes, _NAMESPACE, _CLUSTERS, nats={"podLabels": {"round": "two"}})
        await run.settled()
        assert await kubernetes.operator_writes(position) == [], "an older worker acts on what it can't read"

        # It comes back, and all goes on.
        await run[newer].start()
        await run[newer].until_ready()

        async def is_corrected() -> bool:
            return await kubernetes.get("service", "c0-nats", _NAMESPACE) is not None

        await eventually(is_corrected)
        await run.settled()
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS)

        # Downgrade (docs/upgrades.md): no newer one runs any more, and its records go with the log.
        before = await kubernetes.names(_KINDS)
        await run.remove_worker(newer)
        await run[WATCHER].stop()
        await run.settled()
        position = await kubernetes.witness.position()
        await run.nats.kill()
        shutil.rmtree(run.nats.store)
        await run.nats.start()
        await run[WATCHER].start()
        await run.until_ready()
        await kubernetes.apply(small_cluster("probe"), _NAMESPACE)
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS + 1)
        written = [one for one in await kubernetes.operator_writes(position) if "probe" not in one.name]
        assert [one for one in written if one.subresource != "status" and not one.resource.startswith("events")] == []
        assert {one for one in await kubernetes.names(_KINDS) if "probe" not in one} == before


@pytest.mark.timeout(280)
async def test_facts_of_a_newer_watcher_stop_older_workers_which_say_so(tmp_path: Path) -> None:
    async with operator(tmp_path) as run:
        kubernetes = run.kubernetes
        await roll_out(kubernetes, _NAMESPACE, _CLUSTERS)
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS)
        await run.settled()
        position = await kubernetes.witness.position()

        await run[WATCHER].stop()
        await run.start_as(WATCHER, _NEWER_RELEASE)
        await kubernetes.kubectl.run("label", "node", "--all", "tests.tapio.io/rack=one")

        async def all_stalled() -> bool:
            return await conditions(run, "Stalled") == {("True", "MessageParked")}

        await eventually(all_stalled, seconds=60)
        message = (await kubernetes.condition("c0", "Stalled", _NAMESPACE))[2]
        assert "was written by a newer version of the operator" in message
        assert _READS in message
        assert message.endswith("of this Kubernetes cluster is unknown, so nothing is planned for it.")
        await run.settled()
        written = await kubernetes.operator_writes(position)
        assert [one for one in written if one.subresource != "status" and not one.resource.startswith("events")] == []

        # The watcher goes back: it tells anew whatever it can't read, and everything is as it was.
        await run[WATCHER].stop()
        await run.start_as(WATCHER)
        await until_all_ready(kubernetes, _NAMESPACE, _CLUSTERS)
        await run.settled()
        written = await kubernetes.operator_writes(position)
        assert [one for one in written if one.subresource != "status" and not one.resource.startswith("events")] == []
        assert await how_many_newer(run, "tapio.log.>") == 0
