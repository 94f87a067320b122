"""A log that was restored from a backup says that it is complete, and is not: a worker that knew more waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry

from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.states import States, give_in_after
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.trust import Trust
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api.names import cluster_ref
from tapio_shared.codec import encode
from tapio_shared.errors import LogRewound
from tapio_shared.facts import ObjectObserved, Synced
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey, object_subject, shared_subject
from tapio_shared.ports import Appended, Message, NewMessage, View
from tapio_simulator.cluster import SimulatedCluster
from tests.support.virtual_time import VirtualClock, run_virtually

SUBJECT = shared_subject(0, "local", "synced")


def synced(sequence: int, generation: str) -> Message:
    return Message(SUBJECT, sequence, encode(Synced(generation=generation, kinds=[], synced_at=1)))


def states(trust: Trust) -> States:
    return States(MemoryEventLog(VirtualClock(), partitions=1), 1, 0, trust=trust)


def gone_back() -> Trust:
    """What a worker trusts that went by generation a when the log went back."""
    trust = Trust(known={"a"})
    trust.went_back()
    return trust


def test_the_word_of_before_is_withheld_until_there_is_a_newer_one() -> None:
    trust = Trust()
    assert not trust.taken_over(10, trust.newest)
    before = states(trust)
    before.fold(synced(5, "a"))
    assert "synced" in before.shared["local"]
    trust.told(900)

    assert trust.taken_over(40, trust.newest), "the log ends at 40, and 900 was seen"
    restored = states(trust)
    assert restored.fold(synced(5, "a"))[1] is False
    assert restored.shared.get("local", {}) == {}
    assert restored.fold(synced(60, "b"))[1] is True
    assert restored.shared["local"]["synced"].sequence == 60
    assert restored.withheld == {}

    trust.told(61)
    assert not trust.taken_over(70, trust.newest), "the next partition is taken over in the same log"
    assert states(trust).fold(synced(60, "b"))[1] is True


def test_a_worker_that_has_seen_nothing_takes_the_log_as_it_is() -> None:
    trust = Trust()
    assert not trust.taken_over(40, trust.newest)
    assert states(trust).fold(synced(5, "a"))[1] is True


def test_what_another_partition_was_told_of_meanwhile_is_no_rewind() -> None:
    """The epoch was appended at 71, and another partition followed 72 before this one heard of that."""
    trust = Trust(newest=70)
    seen = trust.newest
    trust.told(72)
    assert not trust.taken_over(71, seen)
    assert trust.newest == 72
    assert states(trust).fold(synced(5, "a"))[1] is True


def test_a_rewind_is_found_once_by_partitions_that_are_taken_over_together() -> None:
    trust = Trust(newest=900)
    seen = trust.newest
    assert trust.taken_over(40, seen)
    assert not trust.taken_over(41, seen)


def test_after_a_while_the_old_word_counts_again() -> None:
    async def run() -> None:
        owner = states(gone_back())
        assert owner.fold(synced(5, "a"))[1] is False
        await asyncio.sleep(0)
        owner.trust.give_in()
        (message,) = owner.withheld.values()
        assert owner.fold(message)[1] is True

    run_virtually(run())


def test_a_word_of_before_that_comes_late_counts_after_a_while_too() -> None:
    """From a watcher that was restarted meanwhile: it knows of no other log, and fills what is missing."""

    async def run() -> None:
        owner = states(gone_back())
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(give_in_after(60.0, owner, owner.fold))
            await asyncio.sleep(100)
            owner.fold(synced(5, "a"))
            await asyncio.sleep(59)
            assert owner.shared.get("local", {}) == {}
            await asyncio.sleep(2)
            assert owner.shared["local"]["synced"].sequence == 5
            assert owner.withheld == {}
            waiting.cancel()

    run_virtually(run())


def test_a_newer_word_is_taken_at_once_and_the_next_old_one_is_waited_for_anew() -> None:
    async def run() -> None:
        owner = states(gone_back())
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(give_in_after(60.0, owner, owner.fold))
            owner.fold(synced(5, "a"))
            await asyncio.sleep(30)
            assert owner.fold(synced(6, "b"))[1] is True
            await asyncio.sleep(100)
            assert owner.fold(synced(7, "a"))[1] is False
            await asyncio.sleep(59)
            assert owner.shared["local"]["synced"].sequence == 6
            await asyncio.sleep(2)
            assert owner.shared["local"]["synced"].sequence == 7
            waiting.cancel()

    run_virtually(run())


class _CutBeforeItIsFollowed(MemoryEventLog):
    """A log that loses everything, and grows again to where it was, between a takeover's reading and its following."""

    is_whole = True

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        if self.is_whole:
            self.is_whole = False
            await self.rewind(0)
            for _ in range(from_sequence):
                await self.append(NewMessage("tapio.log.1.local.team.other.decision", b"{}"))
        async with super().follow(filter_subject, from_sequence=from_sequence, seen=seen) as messages:
            yield messages


def test_what_a_takeover_has_read_must_still_stand_when_it_is_followed() -> None:
    async def run() -> None:
        clock, registry, capacity = VirtualClock(), CollectorRegistry(), Capacity()
        log, metrics = _CutBeforeItIsFollowed(clock, partitions=1), Metrics(registry)
        await log.append(NewMessage(SUBJECT, synced(1, "a").data))
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="w", operator_version="1", partitions=1)
        owner = Partition(0, log, targets, identity, clock, metrics, capacity)
        with pytest.RaisesGroup(
            pytest.RaisesExc(LogRewound, match="has grown again: what stands at 1 is not what was seen there")
        ):
            await owner.run()
        assert capacity.trust.withheld == {"a"}

    run_virtually(run())


class _LosesWhatIsOthers(MemoryEventLog):
    """A log that loses what came after a takeover's epoch, before that is followed, and holds facts there then."""

    is_whole = True

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        if self.is_whole:
            await self.append(NewMessage("tapio.epoch.1", b"{}"))
        return await super().last_per_subject(*filters, at_least=at_least)

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        if self.is_whole:
            self.is_whole = False
            await self.rewind(1)
            await self.append(NewMessage(SUBJECT, synced(2, "a").data))
        async with super().follow(filter_subject, from_sequence=from_sequence, seen=seen) as messages:
            yield messages


def test_what_takes_the_place_of_what_was_lost_before_it_was_followed_is_told() -> None:
    async def run() -> None:
        clock, registry, capacity = VirtualClock(), CollectorRegistry(), Capacity()
        log, metrics = _LosesWhatIsOthers(clock, partitions=1), Metrics(registry)
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="w", operator_version="1", partitions=1)
        owner = Partition(0, log, targets, identity, clock, metrics, capacity)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(owner.run())
            await asyncio.sleep(1)
            assert not task.done()
            assert capacity.trust.known == {"a"}, "what stands at 2 now is a fact, and was told"
            task.cancel()

    run_virtually(run())


class _LosesTheFirst(MemoryEventLog):
    """Acknowledges a decision and loses it at once; with `late`, it is there and is told of that many seconds later."""

    lost = ""
    late = 0.0

    async def append(self, message: NewMessage) -> Appended:
        appended = await super().append(message)
        if message.subject.endswith(".decision") and not self.lost:
            self.lost = message.subject
            if not self.late:
                del self._messages[appended.sequence]
                self._last.pop(message.subject)
        return appended

    async def _follow(self, filter_subject: str, from_sequence: int, created: str) -> AsyncGenerator[Message]:
        async for message in super()._follow(filter_subject, from_sequence, created):
            if message.subject == self.lost:
                await asyncio.sleep(self.late)
            yield message


async def _outcomes(log: _LosesTheFirst) -> int:
    """Own a partition of one TapioCluster for three minutes; answers how many outcomes are recorded by then."""
    key, clock, metrics = OrderingKey("local", "default", "a"), VirtualClock(), Metrics(CollectorRegistry())
    ref = cluster_ref(key.namespace, key.name)
    document: JsonObject = {"apiVersion": "tapio.io/v1alpha1", "kind": "TapioCluster", "metadata": {"name": "a"}}
    fact = ObjectObserved(uid="u", resource_version="1", object=document, observed_at=1)
    await log.append(NewMessage(object_subject(key, ref, 1), encode(fact)))
    kube = SimulatedCluster(clock, SeededRandom(1)).kube()
    targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
    identity = Identity(worker="w", operator_version="1", partitions=1)
    owner = Partition(0, log, targets, identity, clock, metrics, Capacity())
    with suppress(TimeoutError):
        async with asyncio.timeout(180):
            await owner.run()
    return len((await log.last_per_subject("tapio.log.0.*.*.*.outcome")).messages)


def test_a_decision_that_the_log_has_lost_is_not_waited_for_for_ever() -> None:
    with pytest.raises(ExceptionGroup) as ended:
        run_virtually(_outcomes(_LosesTheFirst(VirtualClock(), partitions=1)))
    assert ended.group_contains(LogRewound, match="has lost a record")


def test_a_decision_of_which_the_log_tells_late_is_waited_for() -> None:
    log = _LosesTheFirst(VirtualClock(), partitions=1)
    log.late = 95.0
    assert run_virtually(_outcomes(log)) == 1
