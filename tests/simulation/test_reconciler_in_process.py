"""Seeded schedules of everything that may go wrong around the workers; judged by what reached the API server.

Virtual time: a schedule of minutes takes seconds. A failing seed is repeated by `-k seed-<n>`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable

import pytest

from tapio_reconciler.core.replaying import Replayed, Replayer, Verdict
from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.codec import to_document
from tapio_shared.errors import LogFull, LogUnavailable, RevisionConflict, TapioError
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import object_path
from tapio_simulator.faults import Action, Fault
from tests.support.operator_in_process import NAMES, RECONCILER, Operator, operator_in_process
from tests.support.virtual_time import run_virtually

SEEDS = range(5)
MANY_SEEDS = range(100, 200)
_OPERATIONS = ("append", "lost_ack", "last", "last_per_subject", "follow")
_WRITES = frozenset({"create", "patch", "apply", "delete"})
_STATUSES = (409, 429, 500, 503)


class Chaos:
    """What goes wrong, drawn from one seed."""

    def __init__(self, operator: Operator, seed: int) -> None:
        self._operator, self._random = operator, random.Random(seed)
        self._made = 0
        self.told: list[str] = []
        """What was done, in order; shown when a schedule fails."""

    async def run(self, steps: int) -> None:
        """Do `steps` bad things, one after the other, then let everything be well."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._log_fails,
            self._log_is_full,
            self._log_tells_late,
            self._api_fails,
            self._api_is_slow,
            self._worker_dies,
            self._watcher_dies,
            self._member_flaps,
            self._two_believe,
            self._log_is_lost,
            self._somebody_deletes,
            self._somebody_edits,
            self._spec_changes,
            self._force_is_asked_for,
        ]
        for _ in range(steps):
            await self._moments()
            kind = self._random.choice(kinds)
            self.told.append(f"{self._operator.clock.monotonic():.3f} {kind.__name__}")
            await kind()
        self._operator.log.fault = _nothing
        self._operator.cluster.faults.clear()

    async def _moments(self) -> None:
        """Some turns of the loop, so that what follows strikes at any await, or some seconds."""
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.uniform(0.0, 3.0))
        for _ in range(self._random.randrange(200)):
            await asyncio.sleep(0)

    async def _log_fails(self) -> None:
        chosen = set(self._random.sample(_OPERATIONS, self._random.randint(1, 3)))

        def fault(operation: str, subject: str) -> TapioError | None:
            if operation not in chosen or self._random.random() > 0.4:
                return None
            if operation == "append" and self._random.random() < 0.1:
                return RevisionConflict(subject, 1, 2)
            return LogUnavailable("the log was made to fail")

        self._operator.log.fault = fault
        await asyncio.sleep(self._random.uniform(0.1, 8.0))
        self._operator.log.fault = _nothing

    async def _log_is_full(self) -> None:
        def fault(operation: str, _: str) -> TapioError | None:
            return LogFull("the log was made full") if operation == "append" else None

        self._operator.log.fault = fault
        await asyncio.sleep(self._random.uniform(1.0, 30.0))
        self._operator.log.fault = _nothing

    async def _log_tells_late(self) -> None:
        self._operator.log.delay = self._random.choice((0.01, 0.2, 2.0))
        await asyncio.sleep(self._random.uniform(5.0, 30.0))
        self._operator.log.delay = 0.0

    async def _api_fails(self) -> None:
        action: Action = self._random.choice(("refuse", "reset", "lost-answer"))
        self._operator.cluster.faults.add(
            Fault(
                action,
                verbs=_WRITES,
                users=frozenset({RECONCILER.name}),
                probability=self._random.choice((0.1, 0.5, 1.0)),
                times=self._random.randint(1, 40),
                status=self._random.choice(_STATUSES),
                retry_after=self._random.choice((None, 1)),
            )
        )

    async def _api_is_slow(self) -> None:
        users = frozenset({RECONCILER.name})
        slow = Fault("delay", users=users, probability=0.3, times=30, seconds=(0.1, 40.0))
        self._operator.cluster.faults.add(slow)

    async def _worker_dies(self) -> None:
        name = self._random.choice(sorted(self._operator.workers))
        await self._operator.kill(name)
        await self._moments()
        self._operator.start_worker(name)

    async def _watcher_dies(self) -> None:
        await self._operator.kill("watcher")
        await self._moments()
        self._operator.start_watcher()

    async def _member_flaps(self) -> None:
        membership, name = self._operator.membership, self._random.choice(("w0", "w1", "ghost"))
        for _ in range(self._random.randint(1, 4)):
            await membership.leave(name)
            await self._moments()
            await membership.join(name)
            await self._moments()
        await membership.leave("ghost")

    async def _two_believe(self) -> None:
        self._made += 1
        name = f"believer-{self._made}"
        self._operator.start_worker(name, MemoryMembership())
        await asyncio.sleep(self._random.uniform(0.1, 5.0))
        await self._operator.kill(name)

    async def _log_is_lost(self) -> None:
        await self._operator.log.remove()
        await self._moments()

    async def _somebody_deletes(self) -> None:
        for path in self._random.sample(self._operator.paths(), 5):
            await self._operator.admin.request("DELETE", path)

    async def _somebody_edits(self) -> None:
        for path in self._random.sample(self._operator.paths(), 5):
            await self._operator.patch(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}})

    async def _spec_changes(self) -> None:
        env: JsonObject = {"name": "TIER", "value": self._random.choice(("one", "two", "three"))}
        await self._operator.patch(self._cluster(), {"spec": {"nats": {"env": [env]}}})

    async def _force_is_asked_for(self) -> None:
        asked = str(self._random.randrange(1_000_000))
        await self._operator.patch(self._cluster(), {"metadata": {"annotations": {"tapio.io/force-reconcile": asked}}})

    def _cluster(self) -> str:
        return object_path("tapio.io", "v1alpha1", "tapioclusters", "default", self._random.choice(NAMES))


def _nothing(_operation: str, _subject: str) -> TapioError | None:
    return None


@pytest.fixture(scope="module")
def calm() -> dict[str, None]:
    """Names of what a run without any trouble makes."""
    return run_virtually(_calm())


async def _calm() -> dict[str, None]:
    async with operator_in_process(1) as operator:
        await operator.until_converged()
        assert operator.deletes() == []
        return dict.fromkeys(names_of(operator))


def names_of(operator: Operator) -> list[str]:
    """The objects there are; a Job's name holds a digest of credentials, which differ from run to run."""
    return sorted(re.sub(r"^(Job\S* .*)-[0-9a-f]{8}$", r"\1", name) for name in operator.objects())


async def _survives(seed: int, calm: dict[str, None]) -> None:
    async with operator_in_process(seed) as operator:
        chaos = Chaos(operator, seed)
        try:
            await chaos.run(steps=12)
            await operator.until_converged()
            assert operator.deletes() == []
            assert operator.kube.unrecorded() == []
            assert names_of(operator) == list(calm)
            assert operator.objects() == operator.wanted()
            assert_replays(operator)
            await _restart_writes_nothing(operator)
        except BaseException as err:
            err.add_note("\n".join(chaos.told))
            raise


def assert_replays(operator: Operator) -> None:
    """Every decision that was ever recorded comes out of the recorded facts again; none of them can't be checked."""
    for life in operator.log.lives:
        replayer, checked = Replayer(), 0
        for message in life:
            replayed = replayer.feed(message)
            if replayed is not None:
                assert replayed.verdict is Verdict.IDENTICAL, differences_of(replayed)
                checked += 1
        assert checked == sum(1 for message in life if message.subject.endswith(".decision"))


def differences_of(replayed: Replayed) -> str:
    """The fields in which a replayed decision differs from the recorded one, for the report of a failed test."""
    if replayed.planned is None:
        return f"{replayed.key}@{replayed.sequence}: {replayed.reason}"
    recorded, planned = to_document(replayed.recorded), to_document(replayed.planned.decision)
    assert isinstance(recorded, dict)
    assert isinstance(planned, dict)
    names = sorted({*recorded, *planned} - {"cause", "pod_templates", "digest"})
    found = [f"{name}: {recorded.get(name)} -> {planned.get(name)}" for name in names]
    return "\n".join([f"{replayed.key}@{replayed.sequence}", *(one for one in found if one[0])])


async def _restart_writes_nothing(operator: Operator) -> None:
    before = operator.operator_writes_named()
    for name in sorted(set(operator.tasks) - {"controllers"}):
        await operator.kill(name)
    operator.start_watcher()
    for number in range(2):
        operator.start_worker(f"again-{number}")
    await operator.until_converged()
    assert operator.operator_writes_named()[len(before) :] == []


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed-{seed}") for seed in SEEDS])
def test_every_cluster_becomes_ready_whatever_goes_wrong(seed: int, calm: dict[str, None]) -> None:
    run_virtually(_survives(seed, calm))


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed-{seed}") for seed in MANY_SEEDS])
def test_campaign_every_cluster_becomes_ready_whatever_goes_wrong(seed: int, calm: dict[str, None]) -> None:
    run_virtually(_survives(seed, calm))
