"""NATS is away for long, comes back with an older store, or stops in its tracks; its disk is full.

Real processes and real files. What is too slow or too heavy for `make test` is marked `campaign`: `make campaign-real`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tests.support.e2e_kubernetes import simulated_kubernetes
from tests.support.e2e_objects import all_managed, small_cluster
from tests.support.e2e_roll_outs import roll_out, until_all_ready
from tests.support.eventually import eventually
from tests.support.facts_and_objects import differences, has_gaps
from tests.support.freezing import freeze
from tests.support.mounts import cannot_mount, small_disk
from tests.support.nats_servers import jetstream_leader, three_servers
from tests.support.operator_run import PARTITIONS, WATCHER, OperatorRun, start_operator

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(280)]
_FEW = 6
_PROMISES_MORE = 'jetstream {{ store_dir: "{}/store", max_file_store: 8GB }}'
"""JetStream refuses streams that may grow larger than it may; left alone it may fill three quarters of the disk."""


async def goes_on(operator: OperatorRun, namespace: str, expected: int) -> None:
    """Everything is Ready, nothing that was told is missing from the log, and nothing more is written."""
    kubernetes = operator.kubernetes
    await until_all_ready(kubernetes, namespace, expected)
    await operator.until_ready()
    await operator.settled()
    assert await differences(operator, namespace) == [], "a fact is lost"
    position = await kubernetes.witness.position()
    for worker in operator.workers:
        await operator.crash(worker)
    await operator.until_ready()
    await operator.settled()
    assert await kubernetes.operator_writes(position) == [], "it had not converged"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(8, id="for some seconds"),
        pytest.param(300, id="for five minutes", marks=[pytest.mark.campaign, pytest.mark.timeout(900)]),
    ],
)
async def test_nats_is_unreachable_while_clusters_change(operator: OperatorRun, namespace: str, seconds: int) -> None:
    """Nothing is applied meanwhile, since nothing can be recorded; afterwards all of it is."""
    kubernetes = operator.kubernetes
    await roll_out(kubernetes, namespace, _FEW)
    await until_all_ready(kubernetes, namespace, _FEW)
    await operator.settled()
    await operator.nats.kill()
    position = await kubernetes.witness.position()
    await kubernetes.kubectl.run("delete", "service", "c0-nats", "-n", namespace)
    await kubernetes.kubectl.run("delete", "tapiocluster", "c1", "-n", namespace, "--wait=false")
    await kubernetes.apply(small_cluster("new"), namespace)
    await asyncio.sleep(seconds)  # how long it is away is what is tested
    written = await kubernetes.operator_writes(position)
    assert [one for one in written if one.user.endswith("tapio-reconciler")] == []
    await operator.nats.start()

    async def is_done() -> bool:
        return (
            await kubernetes.get("service", "c0-nats", namespace) is not None
            and await kubernetes.get("tapiocluster", "c1", namespace) is None
        )

    await kubernetes.until(is_done, seconds=90)
    await goes_on(operator, namespace, _FEW)
    assert not await has_gaps(operator)


async def test_the_log_comes_back_from_a_backup_that_is_older_than_the_state(
    operator: OperatorRun, namespace: str
) -> None:
    """What happened after the backup is told again; nothing is undone, and nothing that is gone is made again."""
    kubernetes = operator.kubernetes
    await roll_out(kubernetes, namespace, _FEW)
    await until_all_ready(kubernetes, namespace, _FEW)
    await operator.settled()
    backup = operator.nats.store.with_name("backup")
    await operator.nats.stop()
    shutil.copytree(operator.nats.store, backup)
    await operator.nats.start()

    await kubernetes.kubectl.run("delete", "tapiocluster", "c0", "c1", "-n", namespace, "--timeout=90s")
    await roll_out(kubernetes, namespace, _FEW + 2, nats={"podLabels": {"after": "the-backup"}})
    await kubernetes.kubectl.run("delete", "tapiocluster", "c0", "-n", namespace, "--timeout=90s")
    await until_all_ready(kubernetes, namespace, _FEW + 1)
    await operator.settled()
    before, position = await all_managed(kubernetes, namespace), await kubernetes.witness.position()

    await operator.nats.kill()
    shutil.rmtree(operator.nats.store)
    backup.rename(operator.nats.store)
    await operator.nats.start()
    await kubernetes.apply(small_cluster("probe"), namespace)
    await until_all_ready(kubernetes, namespace, _FEW + 2)
    await operator.until_ready()
    await operator.settled()

    written = [one for one in await kubernetes.operator_writes(position) if "probe" not in one.name]
    assert [one for one in written if one.subresource != "status" and one.resource.partition(".")[0] != "events"] == []
    found = await all_managed(kubernetes, namespace)
    assert [one for one in found if "probe" not in str(one.get("metadata"))] == before
    assert await kubernetes.get("tapiocluster", "c0", namespace) is None
    assert await differences(operator, namespace) == []


@asynccontextmanager
async def operator_on_three_servers(directory: Path) -> AsyncGenerator[OperatorRun]:
    async with (
        simulated_kubernetes(directory) as kubernetes,
        three_servers(directory / "nats", partitions=PARTITIONS) as nats,
        start_operator(kubernetes, directory, webhook=False, servers=nats.servers) as run,
    ):
        yield run


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="once"), pytest.param(6, id="six times", marks=pytest.mark.campaign)]
)
async def test_jetstream_loses_its_leader_during_a_roll_out(tmp_path: Path, rounds: int) -> None:
    """Killed and stopped in turns; each time another server leads, and what is asked for meanwhile becomes Ready."""
    namespace = "default"
    async with operator_on_three_servers(tmp_path) as run:
        for number in range(rounds):
            rolling = asyncio.create_task(
                roll_out(run.kubernetes, namespace, _FEW, nats={"podLabels": {"round": str(number)}})
            )
            leader = await jetstream_leader(run.servers)
            assert leader is not None
            others = [one for one in run.servers if one is not leader]
            if number % 2:
                await freeze(leader)
            else:
                await leader.kill()
            await rolling

            async def has_another_leader(others: list[EmbeddedNatsServer] = others) -> bool:
                return await jetstream_leader(others) in others

            await eventually(has_another_leader, seconds=60)
            await run.kubernetes.apply(small_cluster(f"new-{number}"), namespace)
            await run.kubernetes.until_condition(f"new-{number}", "Ready", "True", namespace=namespace, seconds=90)
            if number % 2:
                leader.send_signal(signal.SIGCONT)
            else:
                await leader.start()
        await goes_on(run, namespace, _FEW + rounds)


@pytest.mark.campaign
@pytest.mark.skipif(cannot_mount(), reason="mounting a small file system takes root and a mount namespace")
async def test_the_disk_of_the_log_is_full(tmp_path: Path) -> None:
    """No space left on the device: nothing is recorded, so nothing is applied; with space again all goes on."""
    namespace = "default"
    async with (
        small_disk(tmp_path / "nats", megabytes=256) as disk,
        EmbeddedNatsServer(disk, extra=_PROMISES_MORE.format(disk)) as nats,
        simulated_kubernetes(tmp_path) as kubernetes,
        start_operator(kubernetes, tmp_path, webhook=False, servers=[nats]) as run,
    ):
        await roll_out(kubernetes, namespace, _FEW)
        await until_all_ready(kubernetes, namespace, _FEW)
        await run.settled()
        ballast = disk / "ballast"
        with ballast.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        await kubernetes.kubectl.run("delete", "service", "c0-nats", "-n", namespace)
        await kubernetes.apply(small_cluster("new"), namespace)

        async def says_so() -> bool:
            return "tapio_watcher_append_failures_total{" in await run[WATCHER].metrics()

        await eventually(says_so, seconds=90)
        ballast.unlink()
        await run.nats.kill()  # A server that met a full disk has given up its store until it starts again.
        await run.nats.start()

        async def is_corrected() -> bool:
            return await kubernetes.get("service", "c0-nats", namespace) is not None

        await kubernetes.until(is_corrected, seconds=90)
        await goes_on(run, namespace, _FEW + 1)
