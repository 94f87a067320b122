"""Workers are added, taken away and frozen while clusters change: who owns what, and what the log then holds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
import pytest

from tapio_reconciler.core.assignment import owners_of
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_membership import LOOK_EVERY, RENEW_EVERY
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.adapters.provisioning import MEMBER_TTL, MEMBERS_BUCKET
from tapio_shared.codec import decode_record
from tapio_shared.facts import DecisionRecorded, EpochAdvanced, OutcomeRecorded
from tapio_shared.keys import escape_token, parse_subject
from tests.support.e2e_kubernetes import simulated_kubernetes
from tests.support.e2e_roll_outs import roll_out, until_all_ready
from tests.support.eventually import eventually
from tests.support.freezing import freeze
from tests.support.operator_run import PARTITIONS, OperatorRun, start_operator

_CLUSTERS = 12
_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Owned:
    """One time that a partition was taken over."""

    partition: int
    worker: str
    epoch: int
    at: int
    """Milliseconds, by the server's clock."""


class Witness:
    """What the log says of owners and decisions."""

    def __init__(self, connection: NatsConnection) -> None:
        self._log, self._members = NatsEventLog(connection), Reader(connection, f"KV_{MEMBERS_BUCKET}")

    async def takeovers(self, since: int = 0) -> list[Owned]:
        """Every take-over after sequence `since`, in order; an owner that re-asserts its epoch takes nothing over."""
        found: list[Owned] = []
        owner: dict[int, str] = {}
        async for message in self._log.read("tapio.epoch.*", up_to=(await self._log.info()).last_sequence):
            record, partition = decode_record(message.data), int(message.subject.rpartition(".")[2])
            assert isinstance(record, EpochAdvanced)
            if owner.get(partition) != record.worker and message.sequence > since:
                found.append(Owned(partition, record.worker, message.sequence, message.written_at))
            owner[partition] = record.worker
        return found

    async def owners(self) -> dict[int, str]:
        """Who owns each partition now."""
        return {one.partition: one.worker for one in await self.takeovers()}

    async def position(self) -> int:
        return (await self._log.info()).last_sequence

    async def until_shared_out(self, run: OperatorRun, members: list[str]) -> None:
        """Wait until every partition is with whom the assignment says, and every one of `members` knows of the others.

        A worker that was gone before another one looked has owned partitions that the other never gave up; that one
        learns of it when it next records something.
        """
        wanted = owners_of(members, PARTITIONS)

        async def is_shared_out() -> bool:
            known = [_members_known_to(run, name) for name in members]
            return all(one == sorted(members) for one in known) and await self.owners() == wanted

        await eventually(is_shared_out, seconds=30)

    async def unfinished(self, left: Mapping[str, int]) -> list[str]:
        """Decisions with something to do that have no outcome although nobody took the partition over before its
        owner had left in order; `left` says when each did. There are none."""
        owner: dict[int, str] = {}
        asked: dict[int, tuple[int, str]] = {}
        fenced: set[int] = set()
        async for message in self._log.read("tapio.>", up_to=await self.position()):
            record = decode_record(message.data)
            match record:
                case EpochAdvanced():
                    partition = int(message.subject.rpartition(".")[2])
                    former = owner.get(partition, "")
                    if former != record.worker and message.written_at < left.get(former, message.written_at + 1):
                        fenced |= {at for at, (number, _) in asked.items() if number == partition}
                    owner[partition] = record.worker
                case OutcomeRecorded():
                    asked.pop(record.decision, None)
                case DecisionRecorded() if record.apply or record.delete or record.finalizer:
                    asked[message.sequence] = parse_subject(message.subject).partition, message.subject
                case _:
                    pass
        return [f"{subject} at {at}" for at, (_, subject) in asked.items() if at not in fenced]

    async def left_at(self, worker: str) -> int:
        """When `worker` left the members by itself; it did not just stop to renew."""
        last = await self._members.last(f"$KV.{MEMBERS_BUCKET}.{escape_token(worker)}")
        assert last is not None
        assert last.headers["KV-Operation"] == "DEL"
        return last.written_at

    async def out_of_order(self) -> list[str]:
        """Decisions of an epoch that was over, or of an older revision than their key's one before. There are none."""
        wrong: list[str] = []
        epochs: dict[int, int] = {}
        revisions: dict[str, int] = {}
        async for message in self._log.read("tapio.>", up_to=await self.position()):
            if message.subject.startswith("tapio.epoch."):
                epochs[int(message.subject.rpartition(".")[2])] = message.sequence
                continue
            if not message.subject.endswith(".decision"):
                continue
            record, address = decode_record(message.data), parse_subject(message.subject)
            assert isinstance(record, DecisionRecorded)
            if record.inputs.partition_epoch < epochs[address.partition]:
                wrong.append(f"{message.subject} at {message.sequence}: epoch {record.inputs.partition_epoch} is over")
            if record.revision < revisions.get(message.subject, 0):
                wrong.append(f"{message.subject} at {message.sequence}: revision {record.revision} is an older one")
            revisions[message.subject] = record.revision
        return wrong


def _members_known_to(run: OperatorRun, worker: str) -> list[str]:
    """The members by which a worker last shared out."""
    told = [line for line in run[worker].log.read_text().splitlines() if '"event": "partitions assigned"' in line]
    return _Assigned.of(told[-1]) if told else []


class _Assigned(msgspec.Struct):
    members: list[str]

    @classmethod
    def of(cls, line: str) -> list[str]:
        return msgspec.json.decode(line, type=cls).members


async def _changes_without_end(run: OperatorRun) -> None:
    """Change every TapioCluster again and again."""
    for number in count():
        await roll_out(run.kubernetes, _NAMESPACE, _CLUSTERS, nats={"podLabels": {"round": str(number)}})


@asynccontextmanager
async def operator(directory: Path, *, workers: int) -> AsyncGenerator[tuple[OperatorRun, Witness]]:
    async with (
        simulated_kubernetes(directory) as kubernetes,
        start_operator(kubernetes, directory, workers=workers, webhook=False) as run,
    ):
        connection = await NatsConnection.connect([run.nats.url], name="test")
        try:
            yield run, Witness(connection)
        finally:
            await connection.close()


def moved(before: list[str], after: list[str]) -> set[int]:
    """Partitions that have another owner among `after` than among `before`."""
    old, new = owners_of(before, PARTITIONS), owners_of(after, PARTITIONS)
    return {number for number in range(PARTITIONS) if old[number] != new[number]}


@pytest.mark.timeout(200)
async def test_from_one_worker_to_eight_to_three_only_what_must_moves(tmp_path: Path) -> None:
    async with operator(tmp_path, workers=1) as (run, witness):
        await roll_out(run.kubernetes, _NAMESPACE, _CLUSTERS)
        left = dict[str, int]()
        load = asyncio.create_task(_changes_without_end(run))
        names = [f"reconciler-{number}" for number in range(1, 9)]
        steps = [*(names[:count] for count in range(2, 9)), *(names[:count] for count in range(7, 2, -1))]
        for step in steps:
            before = run.workers
            position = await witness.position()
            for name in [one for one in step if one not in before]:
                await run.add_worker(name)
            gone = [one for one in before if one not in step]
            for name in gone:
                await run.remove_worker(name)
            left |= {name: await witness.left_at(name) for name in gone}
            await witness.until_shared_out(run, step)
            takeovers = await witness.takeovers(position)
            for name in gone:
                assert max(one.at for one in takeovers) - left[name] < MEMBER_TTL * 1000, "not at once"
            taken = [one.partition for one in takeovers]
            assert sorted(taken) == sorted(moved(before, step)), f"{before} -> {step}"
            assert not load.done(), "the load has ended by itself"
        load.cancel()
        await asyncio.wait([load])
        await until_all_ready(run.kubernetes, _NAMESPACE, _CLUSTERS)
        await run.settled()
        assert await witness.unfinished(left) == []
        assert await witness.out_of_order() == []


@pytest.mark.timeout(200)
async def test_a_frozen_worker_is_superseded_and_records_nothing_when_it_thaws(tmp_path: Path) -> None:
    async with operator(tmp_path, workers=2) as (run, witness):
        await witness.until_shared_out(run, run.workers)
        await roll_out(run.kubernetes, _NAMESPACE, _CLUSTERS)
        frozen = "reconciler-1"
        # It owns nothing any more as soon as its membership has ended and another one has looked: within 10 s.
        assert MEMBER_TTL + RENEW_EVERY + 2 * LOOK_EVERY < 10.0
        await freeze(run[frozen])
        try:
            await witness.until_shared_out(run, ["reconciler-2"])
            await until_all_ready(run.kubernetes, _NAMESPACE, _CLUSTERS)
        finally:
            run[frozen].send_signal(signal.SIGCONT)
        await witness.until_shared_out(run, run.workers)
        await run.until_ready()
        await run.settled()
        assert await witness.out_of_order() == []
        await until_all_ready(run.kubernetes, _NAMESPACE, _CLUSTERS)
