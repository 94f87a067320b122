"""Whatever is late, refused or lost on the way: the log's last word on an object is how it is, told by whom it may be.

One or two watchers, the second of them a successor that the first has not noticed, follow a ConfigMap and two Secrets
of an API server in this process, while people make, change, relabel and delete them. Answers, lines of watches,
acknowledgements and readings are late, refused or lost. There are hardly any comparisons here, which would mend what is
wrong after a while, and no reading again of all Secrets.

Nor does one watcher tell how an object was after it told how it is: a TapioCluster would be rolled out as it was asked
for before, and pods that use a Secret twice. Of this two things are left, which nothing simple would mend:

- Who leads no more, and has not noticed, may tell something older than its successor has told, while there are two.
- What somebody takes our labels from and gives them back ends for a watch, and begins again: one that is behind a
  reading can't tell that from the end of what was read (2 of 4,000 walks). Of a Secret of ours two watches tell then,
  of which one may be behind the other (94 of 4,000). Nobody but an intruder does that.

An API server that answers readings from before, for less than a minute, is not believed either, where anything is known
of the object. What a watch of Secrets misses that begins anew is not known (5 of 1,000 walks; a Secret is read again
within ten minutes), nor to a second watcher what the first has told (50 of 550).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api import labels, names
from tapio_shared.codec import decode_record
from tapio_shared.errors import ApiUnavailable, LogUnavailable, ResourceExpired, RevisionConflict, TapioError
from tapio_shared.facts import ObjectGone, ObjectObserved, ServedResource
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject
from tapio_shared.kubernetes import object_path
from tapio_shared.ports import Kube, KubeResponse
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.faults import Fault
from tapio_watcher.api import Api
from tapio_watcher.digest_key import DigestKey
from tapio_watcher.following import KindWatch
from tapio_watcher.metrics import Metrics
from tapio_watcher.past import DOUBTED
from tapio_watcher.publishing import FactWriter
from tapio_watcher.secrets import SecretWatches
from tapio_watcher.sinks import ObjectSink
from tests.support.kube_between import KubeBetween, Request
from tests.support.virtual_time import VirtualClock, run_virtually

NAMESPACE, PARTITIONS = "team", 4
KEYS = [OrderingKey("local", NAMESPACE, name) for name in ("a", "b")]
CONFIG_MAPS = ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
OWN = names.child_name("a", names.NATS_AUTH, NAMESPACE)
THEIRS = "registry"
OBJECTS = (("configmaps", "settings"), ("secrets", OWN), ("secrets", THEIRS))
PAST = 0.8 * DOUBTED
"""Seconds for which readings are answered from before: one that lasts is believed."""
WERE_READ_MEANWHILE = (6984,)
"""Walks in which an object was told to exist that had ended between a reading of it and a list that was under way."""
PEACE = 60.0
"""Seconds at the end in which nothing more happens: longer than the longest wait of a watch or an append."""


@dataclass
class Ways:
    """How the ways between a watcher, the API server and the log are for now."""

    rng: random.Random
    refused: int = 0
    """Readings of one object that are still refused."""
    conflict: float = 0.0
    away: float = 0.0
    lost: float = 0.0
    broken: float = 0.0
    """How probably each line of a watch is its last, and half as probably nobody knows where it would go on."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while lines of watches arrive."""

    def __post_init__(self) -> None:
        self.heard.set()

    def fault(self, operation: str, subject: str) -> TapioError | None:
        """For `MemoryEventLog.fault`."""
        drawn = self.rng.random()
        if operation == "append" and drawn < self.conflict:
            return RevisionConflict(subject, 0, 0)
        if operation == "append" and drawn < self.conflict + self.away:
            return LogUnavailable("away, say")
        return LogUnavailable("lost, say") if operation == "lost_ack" and drawn < self.lost else None

    def calm(self) -> None:
        self.refused, self.conflict, self.away, self.lost, self.broken = 0, 0.0, 0.0, 0.0, 0.0


class Late(KubeBetween):
    """Answers and lines take their time, in order; readings of one object may be refused."""

    def __init__(self, kube: Kube, ways: Ways) -> None:
        super().__init__(kube)
        self._ways = ways

    async def answer(self, request: Request) -> KubeResponse:
        await self._pause()
        if self._ways.refused and request.path.rpartition("/")[2] in {name for _, name in OBJECTS}:
            self._ways.refused -= 1
            raise ApiUnavailable("refused, say")
        answer = await request.send(self.kube)
        await self._pause()
        return answer

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(path, query, silence)

    @asynccontextmanager
    async def _watch(self, path: str, query: Mapping[str, str], silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self.kube.watch(path, query=query, silence=silence) as lines:
            yield self._lines(lines)

    async def _lines(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            await self._pause()
            await self._ways.heard.wait()
            drawn = self._ways.rng.random()
            if drawn < self._ways.broken / 2:
                raise ResourceExpired("too old, say")
            if drawn < self._ways.broken:
                raise ApiUnavailable("broken, say")
            yield line

    async def _pause(self) -> None:
        await asyncio.sleep(self._ways.rng.choice((0.0, 0.0, 0.01, 0.3)))


@dataclass
class People:
    """They make, change, relabel and delete."""

    kube: Kube
    rng: random.Random
    now: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    left: dict[str, int] = field(default_factory=dict[str, int])
    """UIDs of what was deleted, or was given to another TapioCluster or to none, and when."""
    relabelled: set[str] = field(default_factory=set[str])
    """UIDs of what was given to another TapioCluster, or to none."""

    async def change(self) -> None:
        plural, name = self.rng.choice(OBJECTS)
        path = object_path("", "v1", plural, NAMESPACE, name)
        if name in self.now and self.rng.random() < 0.4:
            await self.kube.request("DELETE", path)
            self._leave(name)
            del self.now[name]
            return
        owner = "a" if plural == "secrets" else self.rng.choice("ab")
        tags = {"answer": str(self.rng.randrange(3))}
        if name != THEIRS and self.rng.random() < 0.85:
            tags |= {
                labels.MANAGED_BY: labels.MANAGED_BY_OPERATOR,
                labels.CLUSTER: owner,
                labels.CLUSTER_NAMESPACE: NAMESPACE,
                labels.CLUSTER_UID: f"uid-of-{owner}",
            }
        document: JsonObject = {"apiVersion": "v1", "metadata": {"name": name, "labels": {**tags}}}
        body = msgspec.json.encode({**document, "kind": "Secret" if plural == "secrets" else "ConfigMap"})
        former = self.tags(name)
        if former is None:
            answer = await self.kube.request("POST", path.rpartition("/")[0], body=body)
        else:
            answer = await self.kube.request("PUT", path, body=body)
            if former.get(labels.CLUSTER) != tags.get(labels.CLUSTER):
                self._leave(name)
                self.relabelled.add(str_at(self.now[name], "metadata", "uid"))
        self.now[name] = msgspec.json.decode(answer.body)

    def _leave(self, name: str) -> None:
        self.left.setdefault(str_at(self.now[name], "metadata", "uid"), VirtualClock().now())

    def tags(self, name: str) -> dict[str, str] | None:
        """The labels that an object has; None when there is none."""
        document = self.now.get(name)
        return None if document is None else msgspec.convert(document["metadata"], _Metadata).labels


class _Metadata(msgspec.Struct):
    labels: dict[str, str]


class Watching:
    """A watcher of the ConfigMap and the Secrets."""

    def __init__(
        self, kube: Kube, log: MemoryEventLog, clock: VirtualClock, seed: int, group: asyncio.TaskGroup
    ) -> None:
        metrics, self._group = Metrics(CollectorRegistry()), group
        self._writer = FactWriter(log, "local", PARTITIONS, clock, metrics, group)
        lists = asyncio.Semaphore(2)
        api = Api(kube=kube, random=SeededRandom(seed), metrics=metrics, room=self._writer.room, lists=lists)
        sink = ObjectSink(self._writer, "local", clock, group="", kind="ConfigMap")
        self._watch = KindWatch(api, CONFIG_MAPS, sink, selector={"labelSelector": labels.MADE_SELECTOR})
        sink.fetch = self._watch.fetch
        key = DigestKey(b"k" * 48, "k")
        self._secrets = SecretWatches(api, self._writer, clock, key, group, trusted=True)

    async def begin(self) -> None:
        """Learn what the log holds, and follow."""
        await self._writer.hydrate()
        for key in KEYS:
            self.refer(key)
        self._secrets.start(self._listed)
        self._group.create_task(self._watch.run())

    async def compare(self) -> None:
        """Compare the ConfigMap with the API server's own list, as is done now and then."""
        with suppress(TapioError):
            await self._watch.compare()

    def refer(self, key: OrderingKey) -> None:
        """A TapioCluster refers to the Secret of people's, which is read then."""
        document: JsonObject = {
            "metadata": {"name": key.name, "namespace": NAMESPACE},
            "spec": {"image": {"pullSecrets": [{"name": THEIRS}]}},
        }
        self._secrets.told("TapioCluster", document, key)

    async def _listed(self) -> None:
        """Which Secrets are wanted is known from the beginning."""


class _Over(Exception):
    """Ends everything that is under way."""


async def _end() -> None:
    raise _Over


async def walk(seed: int, *, is_past: bool = False) -> list[str]:
    """What the log tells wrongly once all has come to rest.

    With `is_past`, readings by one watcher are answered from before for a while, and the ConfigMap alone is looked at.
    """
    rng, clock = random.Random(seed), VirtualClock()
    random.seed(seed)  # for the waits between two appends
    cluster = SimulatedCluster(clock, SeededRandom(seed))
    await cluster.prepare()
    people = People(cluster.kube(), rng)
    await people.kube.request(
        "POST",
        "/api/v1/namespaces",
        body=msgspec.json.encode({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    )
    log = MemoryEventLog(clock, partitions=PARTITIONS)
    ways = Ways(rng)
    watching: list[Watching] = []
    try:
        async with asyncio.TaskGroup() as group:

            async def begin_one() -> None:
                watching.append(Watching(Late(cluster.kube(), ways), log, clock, seed, group))
                await watching[-1].begin()

            for _ in range(rng.randrange(3)):
                await people.change()
            await begin_one()
            second = rng.randrange(40)
            log.fault = ways.fault
            ways.conflict, ways.away, ways.lost, ways.broken = (rng.choice((0.0, 0.3)) for _ in range(4))
            if is_past:
                second = -1
                cluster.faults.add(past(rng))
                asyncio.get_running_loop().call_later(PAST, cluster.faults.clear)
            for number in range(rng.randint(5, 40)):
                if number == second:
                    await begin_one()
                if rng.random() < 0.2:
                    ways.refused = rng.randint(1, 4)
                if rng.random() < 0.1:
                    group.create_task(rng.choice(watching).compare())
                for _ in range(rng.choice((0, 1, 1, 2))):
                    await people.change()
                await asyncio.sleep(rng.choice((0.0, 0.0, 0.01, 0.1, 1.0, 6.0)))
            ways.calm()
            cluster.faults.clear()
            await asyncio.sleep(PEACE)
            group.create_task(_end())
    except* _Over:
        pass
    found: list[str] = []
    for key in KEYS:
        for name in ("settings",) if is_past else ("settings", OWN, THEIRS):
            subject = subject_of(key, name)
            if len(watching) == 1 and name != OWN:
                found += [wrong async for wrong in told_backwards(log, people, subject)]
            found += await wrong_of(log, people, key, name, subject)
            found += [wrong async for wrong in ends_of_none(log, people, subject)]
    return found


def past(rng: random.Random) -> Fault:
    """Readings of one object are answered by a server that is behind."""
    often, by = rng.choice((0.3, 1.0)), rng.choice((1, 3, 10))
    return Fault("stale-read", verbs=frozenset({"get"}), probability=often, stale_by=by)


def subject_of(key: OrderingKey, name: str) -> str:
    kind = "ConfigMap" if name == "settings" else "Secret"
    return object_subject(key, ObjectRef("", kind, NAMESPACE, name), PARTITIONS)


async def told_backwards(log: MemoryEventLog, people: People, subject: str) -> AsyncGenerator[str]:
    """What was told of an object that nobody relabelled after something newer of it. Versions are numbers here."""
    newest: dict[str, int] = {}
    async for message in log.read(subject, up_to=(await log.info()).last_sequence):
        record = decode_record(message.data)
        if isinstance(record, ObjectObserved) and record.uid not in people.relabelled:
            version = int(record.resource_version)
            if version < newest.get(record.uid, 0):
                yield f"{subject}: {message.sequence} tells of {version}, and {newest[record.uid]} was told"
            newest[record.uid] = version


async def ends_of_none(log: MemoryEventLog, people: People, subject: str) -> AsyncGenerator[str]:
    """Ends that were told while the object that had been told of before was as it was."""
    present = ""
    async for message in log.read(subject, up_to=(await log.info()).last_sequence):
        record = decode_record(message.data)
        if isinstance(record, ObjectObserved):
            present = record.uid
        elif present:
            if people.left.get(present, message.written_at + 1) > message.written_at:
                yield f"{subject}: {message.sequence} tells of an end, and {present} was there"
            present = ""


async def wrong_of(log: MemoryEventLog, people: People, key: OrderingKey, name: str, subject: str) -> list[str]:
    """What the log's last word of an object for a key says wrongly."""
    last, tags = await log.last(subject), people.tags(name)
    if name == "settings" and tags is not None and tags.get(labels.CLUSTER) != key.name:
        tags = None
    wanted = name != OWN or key.name == "a"
    record = None if last is None else decode_record(last.data)
    if name == OWN and isinstance(record, ObjectGone) and tags is not None and labels.CLUSTER not in tags:
        return []  # Made by somebody in place of ours: nobody is told of it before all Secrets are read again.
    if tags is not None and wanted:
        answer = str_at(record.object, "metadata", "labels", "answer") if isinstance(record, ObjectObserved) else "gone"
        return [] if answer == tags["answer"] else [f"{subject}: {answer}, and it is {tags['answer']}"]
    absent = isinstance(record, ObjectGone) or (record is None and (name == "settings" or not wanted))
    return [] if absent else [f"{subject}: {record}, and there is none"]


@pytest.mark.parametrize("seeds", [range(begin, begin + 200) for begin in (0, 200, 400)], ids=str)
def test_the_last_word_on_an_object_is_how_it_is(seeds: range) -> None:
    wrong = {seed: found for seed in seeds if (found := run_virtually(walk(seed)))}
    assert wrong == {}


@pytest.mark.parametrize("seed", WERE_READ_MEANWHILE)
def test_what_ended_before_a_list_that_it_was_read_in_is_gone(seed: int) -> None:
    assert run_virtually(walk(seed)) == []


@pytest.mark.parametrize("seeds", [range(200)], ids=str)
def test_an_answer_of_before_is_none(seeds: range) -> None:
    wrong = {seed: found for seed in seeds if (found := run_virtually(walk(seed, is_past=True)))}
    assert wrong == {}


async def answers(log: MemoryEventLog, name: str) -> list[str]:
    """The label `answer` of an object, or "gone", in everything that the log tells of it to the first key."""
    found: list[str] = []
    async for message in log.read(subject_of(KEYS[0], name), up_to=(await log.info()).last_sequence):
        record = decode_record(message.data)
        found.append(
            str_at(record.object, "metadata", "labels", "answer") if isinstance(record, ObjectObserved) else "gone"
        )
    return found


async def put(kube: Kube, name: str, answer: int) -> None:
    """Make the ConfigMap or the Secret of people's, or change it."""
    is_secret = name == THEIRS
    path = object_path("", "v1", "secrets" if is_secret else "configmaps", NAMESPACE, name)
    tags = {"answer": str(answer)}
    if not is_secret:
        tags |= {labels.MANAGED_BY: labels.MANAGED_BY_OPERATOR, labels.CLUSTER: "a"}
        tags |= {labels.CLUSTER_NAMESPACE: NAMESPACE, labels.CLUSTER_UID: "uid-of-a"}
    document = {"apiVersion": "v1", "kind": "Secret" if is_secret else "ConfigMap"}
    body = msgspec.json.encode({**document, "metadata": {"name": name, "labels": tags}})
    if answer:
        await kube.request("PUT", path, body=body)
    else:
        await kube.request("POST", path.rpartition("/")[0], body=body)


@pytest.mark.parametrize("name", ["settings", THEIRS], ids=["a comparison's", "a Secret's"])
def test_what_a_watch_tells_that_is_behind_a_reading_is_of_before(name: str) -> None:
    """It was told once: as the object is, as it was, and as it is."""

    async def run() -> None:
        clock = VirtualClock()
        cluster = SimulatedCluster(clock, SeededRandom(1))
        await cluster.prepare()
        log, people, ways = MemoryEventLog(clock, partitions=PARTITIONS), cluster.kube(), Ways(random.Random(1))
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await people.request("POST", "/api/v1/namespaces", body=msgspec.json.encode(namespace))
        await put(people, name, 0)
        try:
            async with asyncio.TaskGroup() as group:
                one = Watching(Late(cluster.kube(), ways), log, clock, 1, group)
                await one.begin()
                await asyncio.sleep(10)
                ways.heard.clear()
                await put(people, name, 1)
                await put(people, name, 2)
                await one.compare()
                one.refer(OrderingKey("local", NAMESPACE, "c"))
                await asyncio.sleep(5)
                assert await answers(log, name) == ["0", "2"]
                ways.heard.set()
                await asyncio.sleep(5)
                await put(people, name, 3)
                await asyncio.sleep(5)
                group.create_task(_end())
        except* _Over:
            pass
        assert await answers(log, name) == ["0", "2", "3"]

    run_virtually(run())
