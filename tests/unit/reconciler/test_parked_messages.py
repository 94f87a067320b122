"""What can't be read is unknown: nothing is made, changed or deleted because of it, and the status says so."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.state import Entry, evolve
from tapio_reconciler.shell.states import PARKED_KEPT, States
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.api.names import cluster_ref
from tapio_shared.codec import encode
from tapio_shared.facts import MessageParked, ObjectGone
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, decision_subject, object_subject, parked_subject, shared_subject
from tapio_shared.ports import Message, NewMessage
from tests.support.planned_world import PARTITIONS, World, example
from tests.support.virtual_time import VirtualClock, run_virtually

REASON = "A message of the log can't be read by this version."
KEY = OrderingKey("local", "default", "a")


@pytest.fixture
def world() -> World:
    settled = World.of(example("development"))
    settled.settle()
    return settled


def garble(world: World, ref: ObjectRef) -> str:
    """Put something unreadable in the place of what the log last told of `ref`; answers the subject."""
    world.sequence += 1
    subject = object_subject(world.state.key, ref, PARTITIONS)
    record = MessageParked(subject=subject, sequence=world.sequence, reason=REASON, parked_at=world.now)
    evolve(world.state, subject, Entry(world.sequence, record))
    return subject


def condition(status: JsonObject | None, kind: str) -> tuple[str, str, str]:
    for one in objects_at(status, "conditions"):
        if str_at(one, "type") == kind:
            return str_at(one, "status"), str_at(one, "reason"), str_at(one, "message")
    return "", "", ""


def ref_of_kind(world: World, kind: str) -> ObjectRef:
    return next(ref for ref in world.state.seen() if ref.kind == kind)


def test_an_unknown_object_is_left_alone_and_the_status_says_why(world: World) -> None:
    ref = ref_of_kind(world, "Service")
    before = world.state.own[object_subject(world.state.key, ref, PARTITIONS)]
    subject = garble(world, ref)

    planned = world.plan()

    assert planned.decision.apply == []
    assert planned.decision.delete == []
    status, reason, message = condition(planned.decision.status, "Degraded")
    assert (status, reason) == ("True", "MessageParked")
    assert message == (
        f"Message {world.sequence} of the event log, on subject {subject}, is parked. {REASON} "
        f"What it says of {ref} is unknown, so that is left alone. If no newer version wrote it, restart the watcher "
        "(kubectl -n tapio-system rollout restart deployment/tapio-watcher), which tells of every object anew."
    )
    assert condition(planned.decision.status, "Ready")[0] == "True"
    assert [(one.type, one.reason) for one in planned.decision.events] == [("Warning", "MessageParked")]

    world.sequence += 1
    evolve(world.state, subject, Entry(world.sequence, before.record))
    healed = world.plan()
    assert healed.decision.status is None  # as it was before, and nothing else to write
    assert not healed.has_effects


def test_an_unknown_workload_is_not_ready(world: World) -> None:
    ref = ref_of_kind(world, "StatefulSet")
    garble(world, ref)

    planned = world.plan()

    assert planned.decision.apply == []
    status, _, message = condition(planned.decision.status, "Ready")
    assert status == "False"
    assert f"What it says of {ref} is unknown" in message


def test_an_unknown_custom_resource_stops_planning_and_deletes_nothing(world: World) -> None:
    garble(world, ObjectRef("tapio.io", "TapioCollector", world.state.key.namespace, "extra"))

    planned = world.plan()

    assert (planned.decision.apply, planned.decision.delete) == ([], [])
    assert condition(planned.decision.status, "Stalled")[:2] == ("True", "MessageParked")


def test_an_unknown_cluster_is_told_of_in_one_event(world: World) -> None:
    garble(world, cluster_ref(world.state.key.namespace, world.state.key.name))

    planned = world.plan()

    assert (planned.decision.apply, planned.decision.delete, planned.decision.status) == ([], [], None)
    assert [(one.type, one.reason) for one in planned.decision.events] == [("Warning", "MessageParked")]
    assert planned.decision.cluster_uid == world.plans[-1].decision.cluster_uid != ""
    world.sequence += 1
    decided = decision_subject(world.state.key, PARTITIONS)
    evolve(world.state, decided, Entry(world.sequence, planned.decision))
    again = world.plan()
    assert again.decision.events == []
    assert again.decision.desired_digest == planned.decision.desired_digest


def test_what_is_unknown_holds_the_finalizer(world: World) -> None:
    ref = ref_of_kind(world, "Service")
    garble(world, ref)
    metadata = {**object_at(world.cluster, "metadata"), "deletionTimestamp": "2026-01-01T00:00:00Z"}
    world.observe({**world.cluster, "metadata": metadata})
    assert f"What it says of {ref} is unknown" in condition(world.plan().decision.status, "Ready")[2]
    for _ in range(5):
        planned = world.plan()
        assert planned.decision.finalizer == ""
        assert f"{ref} is being deleted." in planned.decision.waiting
        world.step()


def message(sequence: int, data: bytes = b"garbage", name: str = "x") -> Message:
    ref = ObjectRef("", "ConfigMap", "default", name)
    return Message(object_subject(KEY, ref, 1), sequence, data, written_at=sequence * 1000)


def states() -> States:
    return States(MemoryEventLog(VirtualClock(), partitions=1), 1, 0)


def test_one_record_is_due_for_each_message_and_a_storm_of_them_is_one() -> None:
    owner = states()
    owner.fold(message(7))
    owner.fold(message(7))
    where = parked_subject(KEY, 1)
    assert [(one.sequence, one.others, one.parked_at) for one in owner.unrecorded.values()] == [(7, 0, 7000)]
    for sequence in range(8, 8 + 2 * PARKED_KEPT):
        owner.fold(message(sequence))
    assert {subject: (one.sequence, one.others) for subject, one in owner.unrecorded.items()} == {
        where: (7 + 2 * PARKED_KEPT, 2 * PARKED_KEPT)
    }


def test_what_a_former_owner_recorded_is_not_recorded_again() -> None:
    owner, where = states(), parked_subject(KEY, 1)
    record = MessageParked(subject=message(7).subject, sequence=7, reason="r", parked_at=1)
    for told in (message(7), message(9, name="y"), Message(where, 10, encode(record))):
        owner.fold(told)
    assert {one.sequence for one in owner.unrecorded.values()} == {9}

    record = MessageParked(subject=message(9).subject, sequence=9, reason="r", parked_at=1)
    owner.fold(Message(where, 11, encode(record)))
    assert owner.unrecorded == {}


@pytest.mark.parametrize(
    ("subject", "where"),
    [
        pytest.param("tapio.log.0.local.default.a.nonsense", shared_subject(0, "", "parked"), id="no subject of ours"),
        pytest.param(shared_subject(0, "local", "fleet"), shared_subject(0, "local", "parked"), id="a shared fact"),
        pytest.param(parked_subject(KEY, 1), parked_subject(KEY, 1), id="a record of this kind"),
    ],
)
def test_where_it_is_recorded(subject: str, where: str) -> None:
    owner = states()
    owner.fold(Message(subject, 3, b"garbage"))
    assert list(owner.unrecorded) == [where]


def test_a_state_is_the_same_whether_it_was_followed_or_read() -> None:
    async def run() -> None:
        log = MemoryEventLog(VirtualClock(), partitions=1)
        owner, subject = States(log, 1, 0), message(1).subject
        await owner.state(KEY)
        for data in (encode(ObjectGone(gone_at=1)), b"garbage"):
            await log.append(NewMessage(subject=subject, data=data))
            last = await log.last(subject)
            assert last is not None
            assert owner.fold(last)[1]
        followed, read = await owner.state(KEY), await States(log, 1, 0).state(KEY)
        assert followed.own == read.own
        assert isinstance(followed.own[subject].record, MessageParked)

    run_virtually(run())


async def test_who_takes_over_reads_what_objects_look_like_when_their_key_is_planned() -> None:
    log = MemoryEventLog(VirtualClock(), partitions=1)
    for name in ("x", "y"):
        await log.append(NewMessage(message(1, name=name).subject, b"garbage"))
    owner = States(log, 1, 0)
    owner.hydrate((await log.last_per_subject("tapio.log.0.>")).messages)
    assert (owner.known[KEY].revision, owner.parked_total) == (2, 0)
    state = await owner.state(KEY)
    assert (len(state.own), owner.parked_total) == (2, 2)
    assert [one.sequence for one in owner.unrecorded.values()] == [2]
