"""Histories of a whole operator in one process, and archives of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tapio_cli.history.archive import ArchiveWriter, Header, Stream
from tapio_shared.api.labels import PAUSED
from tapio_shared.ports import Message
from tests.support.operator_in_process import NAMES, PARTITIONS, operator_in_process
from tests.support.virtual_time import run_virtually

START = 1_700_000_000_000
_CLUSTERS = "/apis/tapio.io/v1alpha1/namespaces/default/tapioclusters"


def recorded_history(seed: int = 1) -> list[Message]:
    """What is recorded while three clusters become ready, one of them is edited by hand and one is changed."""
    return run_virtually(_recorded(seed))


async def _recorded(seed: int) -> list[Message]:
    async with operator_in_process(seed) as operator:
        await operator.until_converged()
        path = f"{_CLUSTERS}/{NAMES[0]}"
        await operator.patch(path, {"spec": {"gateway": {"replicas": 2}}})
        await operator.patch(operator.paths()[0], {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
        await operator.until_converged()
        return list(operator.log.lives[-1])


def history_of_new_rules(seed: int = 3) -> list[Message]:
    """What is recorded while the rules of order change between the ends of two clusters."""
    return run_virtually(_new_rules(seed))


async def _new_rules(seed: int) -> list[Message]:
    async with operator_in_process(seed) as operator:
        await operator.until_converged()
        await operator.delete_cluster(NAMES[0])
        await operator.until_converged()
        await operator.configure("plannerLogic: 2")
        await operator.until_converged()
        await operator.delete_cluster(NAMES[1])
        await operator.until_converged()
        return list(operator.log.lives[-1])


def history_of_a_bad_image(seed: int = 5) -> list[Message]:
    """What is recorded while an image that nobody has is asked for, and taken back."""
    return run_virtually(_bad_image(seed))


async def _bad_image(seed: int) -> list[Message]:
    async with operator_in_process(seed) as operator:
        await operator.until_converged()
        path = f"{_CLUSTERS}/{NAMES[0]}"
        await operator.patch(path, {"spec": {"nats": {"image": "docker.io/library/nats:does-not-exist"}}})
        await asyncio.sleep(300)
        await operator.patch(path, {"spec": {"nats": {"image": None}}})
        await operator.until_converged()
        return list(operator.log.lives[-1])


def history_of_a_pause(seed: int = 7) -> list[Message]:
    """What is recorded while a cluster is paused, changed, and goes on."""
    return run_virtually(_pause(seed))


async def _pause(seed: int) -> list[Message]:
    async with operator_in_process(seed) as operator:
        await operator.until_converged()
        path = f"{_CLUSTERS}/{NAMES[0]}"
        await operator.patch(path, {"metadata": {"annotations": {PAUSED: "true"}}})
        await operator.patch(path, {"spec": {"gateway": {"replicas": 2}}})
        await asyncio.sleep(120)
        await operator.patch(path, {"metadata": {"annotations": {PAUSED: None}}})
        await operator.until_converged()
        return list(operator.log.lives[-1])


def write_archive(
    path: Path, messages: Sequence[Message], *, first: int = 1, admitted: Sequence[Message] | None = None
) -> Path:
    """An archive of `messages`, and of what the webhook answered."""
    header = Header(
        made_at=START,
        operator_version="1",
        stream=_stream(messages, first=first, partitions=PARTITIONS),
        admitted=None if admitted is None else _stream(admitted, first=1, partitions=0),
    )
    with ArchiveWriter(path, header) as writer:
        for message in admitted or ():
            writer.add_admission(message)
        for message in messages:
            writer.add(message)
    return path


def _stream(messages: Sequence[Message], *, first: int, partitions: int) -> Stream:
    last = messages[-1].sequence if messages else 0
    return Stream(created_at="2026", first_sequence=first, last_sequence=last, max_age=0, partitions=partitions)
