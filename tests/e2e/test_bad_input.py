"""Bad input gets one answer that names all that is wrong, crashes nothing and holds up nobody else."""

from __future__ import annotations

import re

import pytest

from tapio_cli.kubectl import KubectlError
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject
from tapio_shared.ports import NewMessage
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import PARTITIONS, WEBHOOK, OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")
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


async def test_a_message_that_nobody_understands_is_parked_and_counted(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    await kubernetes.apply(small_cluster("one"), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    before = await parked(operator)
    key, ref = OrderingKey("local", namespace, "one"), ObjectRef("", "ConfigMap", namespace, "garbage")
    subject = object_subject(key, ref, PARTITIONS)

    connection = await NatsConnection.connect([operator.nats.url], name="test")
    try:
        appended = await NatsEventLog(connection).append(NewMessage(subject, b'{"type": "FromTheFuture"}'))
    finally:
        await connection.close()

    async def is_counted() -> bool:
        return await parked(operator) == before + 1

    await kubernetes.until(is_counted)
    said = [line for line in operator.lines("message parked") if f'"sequence": {appended.sequence},' in line]
    assert said
    assert all("FromTheFuture" in line for line in said)
    await kubernetes.kubectl.run("delete", "service", "one-nats", "-n", namespace)

    async def is_back() -> bool:
        return await kubernetes.get("service", "one-nats", namespace) is not None

    await kubernetes.until(is_back)
    await kubernetes.apply(small_cluster("two"), namespace)
    await kubernetes.until_condition("two", "Ready", "True", namespace=namespace)


async def parked(operator: OperatorRun) -> int:
    """Messages that the workers have parked, by their metric."""
    total = 0
    for name in operator.workers:
        text = await operator[name].metrics()
        found = re.search(r"^tapio_reconciler_parked_messages_total (\S+)$", text, re.MULTILINE)
        total += int(float(found[1])) if found else 0
    return total
