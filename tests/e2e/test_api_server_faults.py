"""A real API server dies, stands still, or refuses the tokens of the services: the operator goes on where it was."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.e2e_kubernetes import real_kubernetes
from tests.support.e2e_objects import all_managed, small_cluster
from tests.support.e2e_roll_outs import how_many_ready, roll_out, until_all_ready
from tests.support.facts_and_objects import differences, has_gaps
from tests.support.freezing import freeze
from tests.support.operator_run import NAMESPACE, WATCHER, OperatorRun, install, kubeconfig_of, start_operator

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]
_NAMESPACE = "default"
_FEW = 8
_REFUSED = "credentials read again"
"""What a service says after an answer 401. The audit log does not tell: they have no stage ResponseComplete."""
_STANDS_STILL = 20.0
"""Seconds; longer than a request of the operator's may take, and than its Lease lasts."""


@asynccontextmanager
async def operator(directory: Path) -> AsyncGenerator[OperatorRun]:
    async with (
        real_kubernetes(directory) as kubernetes,
        start_operator(kubernetes, directory, webhook=False) as run,
    ):
        yield run


async def _converges(run: OperatorRun, expected: int) -> None:
    """Everything is Ready, the log holds what there is, each service lives, and a new start writes nothing."""
    kubernetes = run.kubernetes
    await until_all_ready(kubernetes, _NAMESPACE, expected)
    await run.until_ready()
    await run.settled()
    assert await differences(run, _NAMESPACE) == [], "a fact is lost"
    assert not await has_gaps(run)
    before, position = await all_managed(kubernetes, _NAMESPACE), await kubernetes.witness.position()
    await run.restart_all()
    await run.settled()
    assert await kubernetes.operator_writes(position) == [], "it had not converged"
    assert await all_managed(kubernetes, _NAMESPACE) == before


async def _begun(run: OperatorRun) -> None:
    """Wait until the roll-out is under way: something is written, and not everything is Ready."""
    position = await run.kubernetes.witness.position()

    async def writes() -> bool:
        return len(await run.kubernetes.operator_writes(position)) > _FEW * 5

    await run.kubernetes.until(writes)


@pytest.mark.parametrize("how", ["killed", "stopped in an orderly way", "standing still"])
async def test_the_api_server_goes_away_during_a_roll_out(tmp_path: Path, how: str) -> None:
    async with operator(tmp_path) as run:
        plane = run.kubernetes.plane
        await roll_out(run.kubernetes, _NAMESPACE, _FEW)
        await _begun(run)
        assert await how_many_ready(run.kubernetes, _NAMESPACE) < _FEW, "the roll-out is over already"
        pids = {name: service.pid for name, service in run.services.items()}
        if how == "standing still":
            await freeze(plane.api_server)
            await asyncio.sleep(_STANDS_STILL)  # how long it stands still is what is tested
            plane.api_server.send_signal(signal.SIGCONT)
        else:
            await plane.restart_api_server(grace=0 if how == "killed" else 20)
        await until_all_ready(run.kubernetes, _NAMESPACE, _FEW)
        assert {name: service.pid for name, service in run.services.items()} == pids, "a service ended"
        await run.kubernetes.apply(small_cluster("new"), _NAMESPACE)
        await _converges(run, _FEW + 1)


async def _renew(kind: str, run: OperatorRun, directory: Path) -> None:
    """Put a new token into the file of a kind of service, as the kubelet does."""
    renewed = await run.kubernetes.plane.kubeconfig_for_service_account(NAMESPACE, f"tapio-{kind}")
    shutil.copy(renewed, kubeconfig_of(kind, directory))


async def test_tokens_that_are_refused_are_replaced_at_run_time(tmp_path: Path) -> None:
    """A ServiceAccount that is made anew ends all tokens of the one before, as expiry does; the file is read again."""
    async with operator(tmp_path) as run:
        kubernetes = run.kubernetes
        await roll_out(kubernetes, _NAMESPACE, 2)
        await until_all_ready(kubernetes, _NAMESPACE, 2)
        pids = {name: service.pid for name, service in run.services.items()}
        await kubernetes.kubectl.run("delete", "serviceaccount", "tapio-watcher", "tapio-reconciler", "-n", NAMESPACE)

        async def watcher_is_refused() -> bool:
            return _REFUSED in run[WATCHER].log.read_text(errors="replace")

        await kubernetes.until(watcher_is_refused)
        await kubernetes.apply(small_cluster("new"), _NAMESPACE)
        await install(kubernetes)
        await _renew("watcher", run, tmp_path)

        async def worker_is_refused() -> bool:
            """The API server may believe a token for 10 s more, so what is corrected in time is broken again."""
            await kubernetes.kubectl.run("delete", "service", "c0-nats", "-n", _NAMESPACE, "--ignore-not-found")
            return bool(run.lines(_REFUSED))

        await kubernetes.until(worker_is_refused)
        await _renew("reconciler", run, tmp_path)
        await kubernetes.until_condition("new", "Ready", "True")

        async def is_corrected() -> bool:
            return await kubernetes.get("service", "c0-nats") is not None

        await kubernetes.until(is_corrected)
        assert {name: service.pid for name, service in run.services.items()} == pids, "a service ended"
        await _converges(run, 3)
