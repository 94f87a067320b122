"""Bad input gets one answer that names all that is wrong, crashes nothing and holds up nobody else."""

from __future__ import annotations

import random
import re

import pytest

from tapio_cli.kubectl import KubectlError
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.codec import decode_record
from tapio_shared.facts import MessageParked
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject, parked_subject, partition_of
from tapio_shared.ports import NewMessage
from tests.support.e2e_objects import managed_objects, small_cluster
from tests.support.operator_run import PARTITIONS, WATCHER, WEBHOOK, OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")
_NEVER_MADE = ObjectRef("", "ConfigMap", "default", "garbage")
_WRONG: JsonObject = {"kubernetes": True, "ebpf": "false", "systemd": {"imagee": "x"}}
"""Two mistakes that the API server's schema lets through."""


async def test_an_invalid_spec_gets_the_same_answer_with_and_without_the_webhook(
    operator: OperatorRun, namespace: str
) -> None:
    kubernetes, document = operator.kubernetes, small_cluster("wrong", collectors=_WRONG)
    with pytest.raises(KubectlError) as denied:
        await kubernetes.apply(document, namespace)
    assert 'spec.collectors.ebpf is "false"' in str(denied.value)
    assert "spec.collectors.systemd.imagee" in str(denied.value)

    await operator[WEBHOOK].stop()
    try:
        await kubernetes.apply(document, namespace)
        text = await kubernetes.until_condition("wrong", "Stalled", "True", reason="InvalidSpec", namespace=namespace)
        assert text
        assert text in str(denied.value)
        assert (await kubernetes.condition("wrong", "Ready", namespace))[0] == "False"

        await kubernetes.apply(small_cluster("right"), namespace)
        await kubernetes.until_condition("right", "Ready", "True", namespace=namespace)
    finally:
        await operator[WEBHOOK].start()
        await operator[WEBHOOK].until_ready()


async def test_a_message_that_nobody_understands_is_parked_counted_and_shown_until_a_newer_one_comes(
    operator: OperatorRun, namespace: str
) -> None:
    kubernetes = operator.kubernetes
    await kubernetes.apply(small_cluster("one"), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    await operator.settled()
    before = await parked(operator)
    key = OrderingKey("local", namespace, "one")
    service = ObjectRef("", "Service", namespace, "one-nats")
    subject, never = object_subject(key, service, PARTITIONS), object_subject(key, _NEVER_MADE, PARTITIONS)

    connection = await NatsConnection.connect([operator.nats.url], name="test")
    try:
        log = NatsEventLog(connection)
        # One in the place of an object that exists, one about an object that never did.
        garbage = (await log.append(NewMessage(never, b"garbage"))).sequence
        appended = await log.append(NewMessage(subject, b'{"type": "FromTheFuture"}'))
        message = ""

        async def is_shown() -> bool:
            nonlocal message
            status, reason, message = await kubernetes.condition("one", "Degraded", namespace)
            return (status, reason) == ("True", "MessageParked") and "one-nats" in message

        await kubernetes.until(is_shown)
        records = parked_subject(key, PARTITIONS)

        async def is_recorded() -> bool:
            last = await log.last(records)
            record = None if last is None else decode_record(last.data)
            return isinstance(record, MessageParked) and record.sequence == appended.sequence

        await kubernetes.until(is_recorded)
        assert await _count(log, records, appended.sequence) == 1
    finally:
        await connection.close()

    sequence = appended.sequence
    assert f"Message {sequence} of the event log, on subject {subject}, was written by a newer version" in message
    assert "FromTheFuture" in message
    assert f"Message {garbage} of the event log, on subject {never}, is parked." in message
    assert f"What it says of Service {namespace}/one-nats is unknown, so that is left alone." in message
    assert "restart the watcher (kubectl -n tapio-system rollout restart deployment/tapio-watcher)" in message
    events = await kubernetes.kubectl.run("get", "events", "-n", namespace, "--field-selector", "reason=MessageParked")
    assert "tapiocluster/one" in events.lower()

    async def is_counted() -> bool:
        return await parked(operator) == before + 2

    await kubernetes.until(is_counted)

    await kubernetes.kubectl.run("delete", "configmap", "one-nats-config", "-n", namespace)

    async def is_back() -> bool:
        return await kubernetes.get("configmap", "one-nats-config", namespace) is not None

    await kubernetes.until(is_back)
    await kubernetes.apply(small_cluster("two"), namespace)
    await kubernetes.until_condition("two", "Ready", "True", namespace=namespace)
    assert (await kubernetes.condition("two", "Degraded", namespace))[:2] == ("False", "AllReady")

    await operator[WATCHER].stop()
    await operator[WATCHER].start()
    await operator[WATCHER].until_ready()
    await kubernetes.until_condition("one", "Degraded", "False", reason="AllReady", namespace=namespace)


async def test_a_decision_that_no_record_holds_is_said_and_holds_nobody_up(
    operator: OperatorRun, namespace: str
) -> None:
    """What is told of the TapioCluster fits, what is decided holds it once more for every workload."""
    kubernetes, noise = operator.kubernetes, random.Random(1)
    names: list[JsonValue] = [noise.randbytes(30).hex() for _ in range(700)]
    avoided: JsonObject = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": names}
    terms: list[JsonValue] = [{"weight": 1, "preference": {"matchExpressions": [avoided]}}]
    affinity: JsonObject = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    large = small_cluster("large", profile="development", scheduling={"affinity": affinity})
    partition = partition_of(OrderingKey("local", namespace, "large"), PARTITIONS)
    neighbour = next(
        name
        for name in (f"n{number}" for number in range(1_000))
        if partition_of(OrderingKey("local", namespace, name), PARTITIONS) == partition
    )
    operator.nats.extra = "max_payload: 128KB"
    await operator.crash("nats")
    try:
        await kubernetes.apply(large, namespace)
        message = await kubernetes.until_condition("large", "Stalled", "True", namespace=namespace)
        assert "larger than the 131072 bytes that the event log takes for one record" in message
        await kubernetes.apply(small_cluster(neighbour), namespace)
        await kubernetes.until_condition(neighbour, "Ready", "True", namespace=namespace)
        assert await managed_objects(kubernetes, "large", namespace) == set()

        await kubernetes.apply(small_cluster("large"), namespace)
        await kubernetes.until_condition("large", "Ready", "True", namespace=namespace)
    finally:
        operator.nats.extra = ""
        await operator.crash("nats")
        await operator.until_ready()


async def _count(log: NatsEventLog, subject: str, sequence: int) -> int:
    """How many records `subject` has ever held about the message at `sequence`."""
    found, end = 0, (await log.info()).last_sequence
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        async for message in messages:
            if message.subject == subject:
                record = decode_record(message.data)
                found += isinstance(record, MessageParked) and record.sequence == sequence
            if message.sequence >= end:
                break
    return found


async def parked(operator: OperatorRun) -> int:
    """Messages that the workers have parked, by their metric."""
    total = 0
    for name in operator.workers:
        text = await operator[name].metrics()
        found = re.search(r"^tapio_reconciler_parked_messages_total (\S+)$", text, re.MULTILINE)
        total += int(float(found[1])) if found else 0
    return total
